/**
 * The whole agent: opens the board, constructs the parts, connects them, starts them and ends them. Rule: no
 * decision is made here. The order of the ends matters: a slot that is nearly written is finished first, the
 * hub hears the results before the link closes, and the watchdogs are fed until all else has ended.
 */
import type { Config } from "../config/schema.ts";
import { summaryOf } from "../control/agent-status.ts";
import { Logging } from "../extensions/logging.ts";
import { within } from "../platform/clock.ts";
import { limitedLog, type Log, tappedLog } from "../platform/log.ts";
import type { World } from "../platform/world.ts";
import { VERSION } from "../version.ts";
import { openBoard } from "./board.ts";
import { controlMethods } from "./control-methods.ts";
import { constructParts, type Parts } from "./parts.ts";
import { wire } from "./wires.ts";

export interface AgentOptions {
  readonly config: Config;
  /** Has the system's clock; the agent's parts get the guarded one of {@link openBoard}. */
  readonly world: World;
  readonly log: Log;
  /** The agent before was left stranded: a reboot that is owed is not asked for at once. */
  readonly afterStranded: boolean;
}

/** The next reboot after one that failed: until then people can reach the board. */
const REBOOT_AGAIN_MS = 3_600_000;

/** On a stop, a slot that is being finished gets this time; the whole stop stays under 10 s. */
const FINISH_GRACE_MS = 6000;
const DISK_GRACE_MS = 1000;

/**
 * Starts the agent: reads what runs, opens the control socket, connects to the hub for ever.
 * @throws Failure when the configuration, the identity or the control socket can't be used; what is
 *   wrong with fwup or the slots is logged, since a board that can be talked to can be helped
 */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  const { config } = options;
  const logging = config.extensions.logging ? new Logging(config.logging, options.world.clock) : undefined;
  const tapped =
    logging === undefined
      ? options.log
      : tappedLog(options.log, config.log.level, (line) => logging.add(line));
  const log = limitedLog(tapped, options.world.clock);
  const board = await openBoard({ ...options, log });
  const parts = await constructParts({ config, board, log, logging });
  wire(parts);
  // The first that can fail, and the one that keeps a second agent from the board: nothing is started before.
  await parts.control.start(controlMethods(parts));
  const agent = new Agent(parts);
  log.info("hublink started", {
    version: VERSION,
    identifier: board.identity.identifier,
    pid: process.pid,
  });
  await start(parts, options);
  return agent;
}

/** A running agent. */
export class Agent {
  /** Resolves when a reboot that failed has ended its work for nothing: stop it, and start another. */
  readonly stranded: Promise<void>;
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.stranded = new Promise((resolve) => parts.rebooter.once("stranded", resolve));
  }

  /** The uuid of the firmware that runs; undefined when it is not known. */
  get firmwareUuid(): string | undefined {
    return this.#parts.firmware.running?.uuid;
  }

  /** Resolves when no update is being written. */
  async settled(): Promise<void> {
    await this.#parts.updater.settled();
  }

  /** Goes quietly: ends what is under way, leaves the channels, closes everything. */
  async stop(): Promise<void> {
    const {
      access,
      alarmList,
      alarmWatch,
      archives,
      care,
      components,
      control,
      extensions,
      guard,
      identify,
    } = this.#parts;
    const { hubUpdates, link, log, managedUpdates, rebootIntoUpdate, reschedule, sampler, updater } =
      this.#parts;
    log.info("hublink stops");
    reschedule.stop();
    hubUpdates.stop();
    sampler?.stop();
    alarmWatch?.stop();
    alarmList.stop();
    const reported = Promise.all([updater.stop(FINISH_GRACE_MS), extensions.stop()]);
    await care.stop(
      Promise.all([
        identify.stop(),
        components?.stop(),
        rebootIntoUpdate.stop(),
        managedUpdates.stop(),
        access.stop(),
        archives?.stop(),
        reported.then(async () => link.stop()).then(async () => this.#kept()),
        control.stop(),
        guard.stop(),
      ]),
    );
  }

  /** Resolves when what the next agent has to know is on the disk, or that hangs. */
  async #kept(): Promise<void> {
    const { errors, journal, keptOffer, world } = this.#parts;
    const written = Promise.all([keptOffer.stop(), journal.settled(), errors?.stop()]);
    await within(world.clock, DISK_GRACE_MS, written, undefined);
  }
}

async function start(parts: Parts, { afterStranded }: AgentOptions): Promise<void> {
  const { access, alarmWatch, care, components, device, hubFetching, firmware, guard, identify } = parts;
  const { errors, journal, keptOffer, link, rebootIntoUpdate, sampler, updater, world } = parts;
  // First: the control socket is open, and a reboot that is asked for there has to know what to end.
  await care.start({
    updater,
    async endChildren() {
      await Promise.all([updater.stop(0), access.stop(), components?.stop(), identify.stop()]);
    },
  });
  if (firmware.running?.uuid !== undefined) await hubFetching.cache.remove(firmware.running.uuid);
  await keptOffer.open((uuid) => hasEnded(uuid, parts));
  await identify.start();
  guard.start(() => {
    if (link.status.connection === "disconnected") link.reconnect("the board's clock was set");
  });
  sampler?.start();
  alarmWatch?.start();
  void errors?.start(); // logs its own failures; the hub does not wait for it
  link.start();
  if (!firmware.rebootOwed) return;
  // The hub may not have heard it; the join tells it, and it sends the update no second time.
  device.reportStatus(journal.installed?.uuid ?? null, { status: "completed" });
  rebootIntoUpdate.resume(
    summaryOf(firmware.running?.other ?? {}),
    journal.installed?.atMs ?? world.clock.now(),
    afterStranded ? REBOOT_AGAIN_MS : 0,
  );
}

/** Whether the update of that uuid runs, waits for its reboot, or was given up by the boot loader. */
function hasEnded(uuid: string, { firmware, journal }: Parts): boolean {
  const installed = firmware.rebootOwed ? journal.installed?.uuid : undefined;
  return [firmware.running?.uuid, installed, firmware.fellBackFrom?.uuid].includes(uuid);
}
