/**
 * Opens what an agent finds on its board: the clock's guard, the record of the last reboot, identity, journal,
 * firmware and fwup. Rule: a board that can be talked to can be helped, so only an identity that can't be used
 * keeps the agent from starting; the log says what else is wrong.
 */
import { ClockGuard } from "../board/clock-guard.ts";
import { missingPrivileges } from "../board/privileges.ts";
import { type BootRecord, openBootRecord } from "../care/boot-record.ts";
import type { Config } from "../config/schema.ts";
import { type BoardFirmware, endLeftFwup, openBoardFirmware } from "../firmware/board-firmware.ts";
import { fwupVersion, writesUnverified } from "../firmware/fwup.ts";
import { type Journal, openJournal } from "../firmware/journal.ts";
import { readEnvironment } from "../firmware/uboot-environment.ts";
import type { Identity, IdentityDeps } from "../identity/identity.ts";
import { loadIdentity } from "../identity/load.ts";
import { loadDownloadTrust, loadTrust, type Trust } from "../identity/trust.ts";
import type { Clock } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { removeLeftScratch } from "../platform/scratch.ts";
import type { World } from "../platform/world.ts";
import { UpdateHistory } from "../update/history.ts";
import { BUILD_DATE_MS } from "../version.ts";

export interface BoardOptions {
  readonly config: Config;
  readonly world: World;
  readonly log: Log;
}

/** The board as the agent finds it at its start. */
export interface Board {
  readonly guard: ClockGuard;
  /** Has the guard's clock; the agent uses it from here on. */
  readonly world: World;
  readonly boot: BootRecord;
  readonly identity: Identity;
  readonly trust: Trust;
  readonly journal: Journal;
  readonly firmware: BoardFirmware;
  readonly history: UpdateHistory;
  /** fwup's version; undefined without a usable fwup. */
  readonly fwup: string | undefined;
}

/**
 * Reads what runs, who the board is and what it was doing, and logs what is wrong with it.
 * @throws Failure when the identity or what is trusted can't be used; what is wrong with fwup or the slots is
 *   logged, since a board that can be talked to can be helped
 */
export async function openBoard({ config, world: system, log }: BoardOptions): Promise<Board> {
  const guard = await ClockGuard.open({
    enabled: config.clock.guard,
    stateDir: config.state.dir,
    buildDateMs: BUILD_DATE_MS,
    world: system,
    log: log.scope("clock"),
  });
  const world: World = { ...system, clock: guard.clock };
  const { clock, root } = world;
  await removeLeftScratch(log);
  for (const missing of missingPrivileges(config, world)) log.warn(missing);
  const boot = await openBootRecord(config.state.dir, world, log);
  const identity = await boardIdentity(config, world, log.scope("identity"));
  const trust = await loadTrust(config.hub.caFile, world);
  await checkDownloadTrust(config, world, log);
  const journal = await openJournal(config.state.dir, log.scope("journal"));
  const onDisk = { config: config.firmware, root, clock, log: log.scope("firmware") };
  await endLeftFwup(onDisk);
  const firmware = await openBoardFirmware({ ...onDisk, journal });
  if (firmware.problem !== undefined) log.error(`no update can be installed: ${firmware.problem.message}`);
  if (firmware.fellBack) log.error("the board fell back from the firmware that was installed last");
  const history = new UpdateHistory(journal, clock);
  if (history.interrupted !== undefined && history.interrupted === journal.installed?.uuid) {
    await history.installed(history.interrupted);
  }
  await history.noteFallBack(firmware.fellBackFrom);
  const fwup = await fwupVersionOrNone(config.firmware.fwup, clock, log);
  const unverified = config.update.verifyWritten && fwup !== undefined ? writesUnverified(fwup) : undefined;
  if (unverified !== undefined) log.error(`no update can be installed: ${unverified}`);
  return { guard, world, boot, identity, trust, journal, firmware, history, fwup };
}

/** Read at each download, so that a mended file counts at once; here it is only for the log. */
async function checkDownloadTrust({ firmware, hub }: Config, world: World, log: Log): Promise<void> {
  if (firmware.caFile === "") return;
  try {
    await loadDownloadTrust(firmware.caFile, hub.caFile, world);
  } catch (error) {
    log.error(`no update can be downloaded: ${messageOf(error)}; see firmware.ca_file`);
  }
}

/** Without fwup the board still connects, and says what is missing. */
async function fwupVersionOrNone(fwup: string, clock: Clock, log: Log): Promise<string | undefined> {
  try {
    return await fwupVersion({ fwup, clock });
  } catch (error) {
    log.error(`no update can be installed: ${messageOf(error)}`);
    return undefined;
  }
}

/**
 * Loads the identity that the configuration names, with what this board knows of itself.
 * @throws Failure that names the file, variable or setting at fault
 */
export async function boardIdentity(config: Config, world: World, log: Log): Promise<Identity> {
  return await loadIdentity(config.identity, identityDeps(config, world, log));
}

/** The parts that an identity uses, for this board. */
export function identityDeps(config: Config, world: World, log: Log): IdentityDeps {
  return {
    world,
    log,
    takeVariable,
    ubootVariables: async () => readEnvironment(config.firmware.ubootEnvConfig),
  };
}

const taken = new Map<string, string>();

function takeVariable(name: string): string | undefined {
  const value = process.env[name];
  if (value !== undefined) taken.set(name, value);
  Reflect.deleteProperty(process.env, name);
  return taken.get(name);
}

/** The keys by which firmware is verified. Pinned keys count alone; without them the hub's do, if trusted. */
export class PublicKeys {
  readonly #config: Pick<Config["firmware"], "publicKeys" | "trustHubKeys">;
  #hubKeys: readonly string[] = [];

  constructor(config: Pick<Config["firmware"], "publicKeys" | "trustHubKeys">) {
    this.#config = config;
  }

  /** Base64 Ed25519: those that count now. None means that every update is refused. */
  usable(): readonly string[] {
    const { publicKeys, trustHubKeys } = this.#config;
    if (publicKeys.length > 0) return publicKeys;
    return trustHubKeys ? this.#hubKeys : [];
  }

  /** Takes the hub's; an empty list never clears keys already held. */
  fromHub(keys: readonly string[]): void {
    if (keys.length > 0) this.#hubKeys = keys;
  }
}
