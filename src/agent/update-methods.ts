/** What applications and `hublink update` ask the hub for, over the control socket (device API 2.4.0). */
import * as v from "valibot";
import { summaryOf } from "../control/agent-status.ts";
import { ControlFailure, UpdateModeParams, UpdateRequestParams } from "../control/messages.ts";
import type { ControlMethods } from "../control/server.ts";
import type { Available } from "../hub/device-messages.ts";
import { unlessAborted } from "../platform/clock.ts";
import { Failure } from "../platform/failure.ts";
import type { HubUpdates } from "../update/hub-updates.ts";
import type { Offer } from "../update/offers.ts";
import type { Outcome } from "../update/outcome.ts";
import type { Updater } from "../update/updater.ts";

export interface UpdateMethodsDeps {
  readonly hubUpdates: HubUpdates;
  readonly updater: Updater;
}

/** `update_check`, `update_request` and `update_mode`. */
export function updateMethods({ hubUpdates, updater }: UpdateMethodsDeps): ControlMethods {
  return {
    async update_check() {
      const { available, firmware_meta: firmware } = await hubUpdates.check();
      return { available, firmware: available ? summaryOf(textsOf(firmware)) : null };
    },
    async update_request(params, { gone }) {
      const { success, output } = v.safeParse(UpdateRequestParams, params);
      if (!success) throw new Failure("unsupported", "update_request takes {wait: true or false} or nothing");
      using ends = new Ends(updater); // an end may come before the grant is handled here
      const answer = await hubUpdates.request();
      if (!answer.granted) {
        const { reason, delayMs } = answer;
        return { granted: false, reason, delay_s: delayMs === undefined ? null : Math.ceil(delayMs / 1000) };
      }
      const firmware = answer.update.firmware_meta;
      if (output?.wait === true) throwIfRefused(await unlessAborted(ends.of(firmware.uuid), gone));
      return { granted: true, firmware: summaryOf(textsOf(firmware)) };
    },
    async update_mode(params) {
      const { success, output } = v.safeParse(UpdateModeParams, params);
      if (!success) {
        throw new Failure("unsupported", "update_mode takes {mode: automatic or device_managed} or nothing");
      }
      if (output?.mode !== undefined) return await hubUpdates.setMode(output.mode);
      if (hubUpdates.mode !== undefined) return hubUpdates.mode;
      const text = "the hub has not said who starts updates: hubs before device API 2.4.0 don't";
      throw new Failure("hub_unanswered", text);
    },
  };
}

/** @throws ControlFailure when the update was not installed */
function throwIfRefused(outcome: Outcome | undefined): void {
  if (outcome === undefined || outcome.result === "installed") return;
  const code = outcome.result === "failed" ? outcome.failure : "failed";
  throw new ControlFailure(outcome.result, code, outcome.reason);
}

/** How updates end from its construction until it is disposed. */
class Ends implements Disposable {
  readonly #updater: Updater;
  /** By the announced uuid; undefined for one that was installed before. */
  readonly #outcomes = new Map<string, Outcome | undefined>();
  #onEnd: () => void = () => undefined;
  readonly #note = (offer: Offer, outcome?: Outcome): void => {
    this.#outcomes.set(offer.announced.uuid ?? "", outcome);
    this.#onEnd();
  };

  constructor(updater: Updater) {
    this.#updater = updater;
    updater.on("ended", this.#note).on("held", this.#note).on("installedAlready", this.#note);
  }

  /** Resolves when the update of that uuid has ended. */
  async of(uuid: string): Promise<Outcome | undefined> {
    while (!this.#outcomes.has(uuid)) await new Promise<void>((resolve) => (this.#onEnd = resolve));
    return this.#outcomes.get(uuid);
  }

  [Symbol.dispose](): void {
    this.#updater.off("ended", this.#note).off("held", this.#note).off("installedAlready", this.#note);
  }
}

/** The hub's description of a firmware, whose values may be null. */
function textsOf(firmware: Available["firmware_meta"]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(firmware).flatMap(([key, value]) => (typeof value === "string" ? [[key, value]] : [])),
  );
}
