/**
 * A fresh URL for an update under way. Signed URLs expire, and a slow line outlives them; NervesHub signs a new
 * one only when it sends the update again. It does that when it is asked; hubs before device API 2.4.0 only at a join
 * that takes the update under way back, past the pacing of its rollout (protocol §4.4, §7.2).
 */
import { LineFault } from "../download/retries.ts";
import type { Update } from "../hub/device-messages.ts";
import type { DeviceTopic } from "../hub/device-topic.ts";
import { type Clock, unlessAborted, within } from "../platform/clock.ts";
import { failedWith, Failure, messageOf } from "../platform/failure.ts";
import type { HubUpdates } from "./hub-updates.ts";

/** NervesHub answers about 3 s after the join; the rest is for a connection that is down. */
const PATIENCE_MS = 2 * 60_000;

/** Asks the hub to send the update under way again. */
export class FreshUrl {
  readonly #hub: Pick<DeviceTopic, "askForUpdate">;
  readonly #hubUpdates: Pick<HubUpdates, "grants" | "request">;
  readonly #clock: Clock;
  #latestUuid: string | undefined;
  #onUpdate: ((update: Update) => void) | undefined;

  constructor(
    hub: Pick<DeviceTopic, "askForUpdate">,
    hubUpdates: Pick<HubUpdates, "grants" | "request">,
    clock: Clock,
  ) {
    this.#hub = hub;
    this.#hubUpdates = hubUpdates;
    this.#clock = clock;
  }

  /**
   * The update of `uuid` as the hub sends it now.
   * @throws LineFault when none came; Failure `url_expired` when the hub sends another one; the signal's reason
   */
  async request(uuid: string, signal: AbortSignal): Promise<Update> {
    signal.throwIfAborted();
    if (this.#latestUuid !== uuid) throw superseded();
    const update = (await unlessAborted(this.#requested(), signal)) ?? (await this.#rejoined(signal));
    if (update.firmware_meta.uuid !== uuid) throw superseded();
    return update;
  }

  /** Undefined when the hub knows no such question. */
  async #requested(): Promise<Update | undefined> {
    if (!this.#hubUpdates.grants) return undefined;
    try {
      const answer = await this.#hubUpdates.request();
      if (answer.granted) return answer.update;
      throw new LineFault(`the firmware's URL has expired, and the hub gives no fresh one: ${answer.reason}`);
    } catch (error) {
      if (failedWith(error, "hub_unanswered")) return undefined;
      if (failedWith(error, "not_connected")) throw new LineFault(messageOf(error));
      throw error;
    }
  }

  async #rejoined(signal: AbortSignal): Promise<Update> {
    const next = new Promise<Update>((resolve) => (this.#onUpdate = resolve));
    this.#hub.askForUpdate();
    try {
      const update = await within(this.#clock, PATIENCE_MS, unlessAborted(next, signal), undefined);
      if (update === undefined) {
        throw new LineFault(
          `the firmware's URL has expired, and no fresh one came in ${PATIENCE_MS / 1000} s`,
        );
      }
      return update;
    } finally {
      this.#onUpdate = undefined;
    }
  }

  /** The hub sent an update. */
  arrived(update: Update): void {
    this.#latestUuid = update.firmware_meta.uuid;
    this.#onUpdate?.(update);
  }
}

function superseded(): Failure {
  return new Failure(
    "url_expired",
    "the firmware's URL has expired, and the hub offers another firmware by now",
  );
}
