/** Checks of what must be true after every life of an agent, and at the end of a round. */
import type { DeviceRecord } from "../hub/device-record.ts";
import { boot, firmwareIn, readVariables, type Boot } from "./boot-loader.ts";
import type { Change } from "./change-log.ts";
import { DISK, type Medium } from "./medium.ts";
import type { Model } from "./world.ts";

/**
 * The faults that a round can find.
 *
 * - `bad boot`: the board does not boot, or boots the wrong firmware
 * - `wrong bytes`: a slot holds other bytes than were sent
 * - `not done`: the board could have installed the firmware, and does not run it at the end
 * - `waiting`: the hub got no end of an update
 * - `misled`: the hub got a report that is not true
 * - `left behind`: files stay on the board that grow, or say something that is not true
 */
export const WRONGS = ["bad boot", "wrong bytes", "not done", "waiting", "misled", "left behind"] as const;
export type Wrong = (typeof WRONGS)[number];

const HOUR_MS = 3_600_000;

export interface Problem {
  readonly wrong: Wrong;
  readonly text: string;
}

/** The results of one life of an agent. */
interface Left {
  readonly model: Model;
  readonly disk: Buffer;
  readonly device: DeviceRecord;
}

/** Checks that the running slot was not written. */
export function checkRunningSlot({ model, disk }: Left, { slot, firmware }: Boot): Problem[] {
  if (firmwareIn(disk, model.layout, slot, model.known) === firmware) return [];
  return [{ wrong: "bad boot", text: `the running slot ${slot} was written to` }];
}

/** Checks that no two programs wrote to the disk in turns: once another one has begun, the one before it is over. */
export function checkWriters(changes: readonly Change[]): Problem[] {
  const writers = changes.flatMap((change) =>
    change.kind === "write" && change.byChild && change.process !== 0 ? [change.process] : [],
  );
  const turns = writers.filter((writer, index) => writer !== writers[index - 1]);
  if (new Set(turns).size === turns.length) return [];
  return [{ wrong: "wrong bytes", text: "two programs wrote to the disk at once" }];
}

/** Checks that firmware which never booted is not marked good. */
export function checkTrial({ model, disk }: Left, running: Boot): Problem[] {
  const variables = readVariables(disk, model.layout);
  const active = variables?.get("nerves_fw_active");
  if (variables?.get("nerves_fw_validated") !== "1" || active === running.slot) return [];
  if (variables.get(`${active ?? ""}.nerves_fw_uuid`) !== model.byHand.uuid) return []; // a revert's
  return [{ wrong: "bad boot", text: `slot ${active ?? "?"} is marked good and never booted` }];
}

/**
 * Checks that each join names the firmware that runs.
 * @param from the first join of this life
 * @param mayLack whether the board can't know the uuid
 */
export function checkJoins({ device }: Left, running: Boot, from: number, mayLack: boolean): Problem[] {
  return device.joins.slice(from).flatMap((join) => {
    const { nerves_fw_uuid: uuid } = join as { nerves_fw_uuid?: unknown };
    // An environment that was restored may lack it.
    const isUnknown = mayLack || running.lostEnvironment;
    if (uuid === running.firmware.uuid || (uuid === undefined && isUnknown)) return [];
    return [{ wrong: "misled", text: `joined as ${String(uuid)} and runs ${running.firmware.version}` }];
  });
}

/** Checks that an update reported as completed survives the power cut. */
export function checkPromise({ model, disk, device }: Left, from: number): Problem[] {
  if (!device.statuses.slice(from).some(({ status }) => status === "completed")) return [];
  const { firmware } = boot(Buffer.from(disk), model.layout, model.known);
  if (firmware.uuid === model.target.uuid) return [];
  return [{ wrong: "misled", text: `reported "completed", and ${firmware.version} is booted` }];
}

/** The journal has a few entries; at most this much is written and flushed at each step of an update. */
const MAX_JOURNAL_BYTES = 16 * 1024;
/** Files that a power cut kept from being renamed or removed: one of each name, of which the agent has few. */
const MAX_UNFINISHED = 4;

/**
 * Checks the files that stay on a board that has arrived.
 * @param cacheBytes what may be left of the download
 * @param nowMs by the board's clock
 */
export function checkFiles(medium: Medium, cacheBytes: number, nowMs: number): Problem[] {
  const wrong = (text: string): Problem => ({ wrong: "left behind", text });
  const problems: Problem[] = [];
  const journalBytes = medium.get("state/journal.json")?.length ?? 0;
  if (journalBytes > MAX_JOURNAL_BYTES) problems.push(wrong(`a journal of ${journalBytes} bytes`));
  const files = [...medium].filter(([name]) => name !== DISK);
  const unfinished = files.filter(([name]) => name.endsWith(".new")).map(([name]) => name);
  if (unfinished.length > MAX_UNFINISHED) problems.push(wrong(unfinished.join(", ")));
  const cached = files.filter(([name]) => name.startsWith("cache/"));
  const bytes = cached.reduce((sum, [, content]) => sum + content.length, 0);
  if (bytes > cacheBytes) problems.push(wrong(`a cache of ${bytes} bytes`));
  const known = Date.parse(medium.get("state/last-known-time")?.toString().trim() ?? "");
  if (known > nowMs + HOUR_MS) problems.push(wrong(`the last-known time ${new Date(known).toISOString()}`));
  return problems;
}

/** Checks the end of a round: the firmware that was sent runs and is validated, and no update is open at the hub. */
export function checkEnd({ model, disk, device }: Left, final: Boot, hopeless: boolean): Problem[] {
  const problems: Problem[] = [];
  const wanted = hopeless ? model.old : model.target;
  const { slot, firmware, validated } = final;
  if (firmware.uuid !== wanted.uuid || !validated) {
    const holds = firmwareIn(disk, model.layout, slot, model.known)?.version ?? "something else";
    const text = `slot ${slot} is to hold ${wanted.meta.version}, validated, and holds ${holds}`;
    problems.push({ wrong: "wrong bytes", text });
  }
  if (device.inFlight !== undefined) {
    problems.push({
      wrong: "waiting",
      text: `the hub believes in an update that is ${device.inFlight.status}`,
    });
  }
  return problems;
}
