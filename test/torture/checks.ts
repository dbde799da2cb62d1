import type { DeviceRecord } from "../hub/device-record.ts";
import { boot, firmwareIn, type Boot } from "./boot-loader.ts";
import type { Model } from "./world.ts";

/**
 * What must never be.
 *
 * - `bad boot`: the board starts nothing, or something else than it should
 * - `wrong bytes`: a slot holds something else than was sent
 * - `not done`: the board did not end with the firmware it was sent, and could have
 * - `waiting`: an update of which the hub heard no end
 * - `misled`: the hub was told what is not so
 */
export type Wrong = "bad boot" | "wrong bytes" | "not done" | "waiting" | "misled";

export interface Problem {
  readonly wrong: Wrong;
  readonly text: string;
}

/** What a life of an agent has left. */
interface Left {
  readonly model: Model;
  readonly disk: Buffer;
  readonly device: DeviceRecord;
}

/** The slot that runs is not written to. */
export function checkRunningSlot({ model, disk }: Left, { slot, firmware }: Boot): Problem[] {
  if (firmwareIn(disk, model.layout, slot, model.known) === firmware) return [];
  return [{ wrong: "bad boot", text: `the running slot ${slot} was written to` }];
}

/** Each join names the firmware that runs. */
export function checkJoins({ device }: Left, running: Boot, from: number): Problem[] {
  return device.joins.slice(from).flatMap((join) => {
    const { nerves_fw_uuid: uuid } = join as { nerves_fw_uuid?: unknown };
    // An environment that was restored need not know it.
    if (uuid === running.firmware.uuid || (uuid === undefined && running.lostEnvironment)) return [];
    return [{ wrong: "misled", text: `joined as ${String(uuid)} and runs ${running.firmware.version}` }];
  });
}

/** An update told to be completed is one that no cut takes back. */
export function checkPromise({ model, disk, device }: Left, from: number): Problem[] {
  if (!device.statuses.slice(from).some(({ status }) => status === "completed")) return [];
  const { firmware } = boot(Buffer.from(disk), model.layout, model.known);
  if (firmware.uuid === model.target.uuid) return [];
  return [{ wrong: "misled", text: `told "completed", and ${firmware.version} is booted` }];
}

/** At the end of it all: the firmware that is wanted, proven, and a hub that waits for nothing. */
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
