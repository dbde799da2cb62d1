/**
 * A fresh URL for an update under way. Signed URLs expire, and a slow line outlives them; NervesHub signs a new
 * one only when it sends the update again.
 */
import { LineFault } from "../download/retries.ts";
import type { Update } from "../hub/device-messages.ts";
import type { DeviceTopic } from "../hub/device-topic.ts";
import { type Clock, unlessAborted, within } from "../platform/clock.ts";
import { Failure } from "../platform/failure.ts";

/** NervesHub answers about 3 s after the join; the rest is for a connection that is down. */
const PATIENCE_MS = 2 * 60_000;

/** Asks the hub to send the update under way again. */
export class FreshUrl {
  readonly #hub: Pick<DeviceTopic, "askForUpdate">;
  readonly #clock: Clock;
  #latestUuid: string | undefined;
  #onUpdate: ((update: Update) => void) | undefined;

  constructor(hub: Pick<DeviceTopic, "askForUpdate">, clock: Clock) {
    this.#hub = hub;
    this.#clock = clock;
  }

  /**
   * The update of `uuid` as the hub sends it now.
   * @throws LineFault when none came; Failure `url_expired` when the hub sends another one; the signal's reason
   */
  async request(uuid: string, signal: AbortSignal): Promise<Update> {
    signal.throwIfAborted();
    if (this.#latestUuid !== uuid) throw superseded();
    const next = new Promise<Update>((resolve) => (this.#onUpdate = resolve));
    this.#hub.askForUpdate();
    try {
      const update = await within(this.#clock, PATIENCE_MS, unlessAborted(next, signal), undefined);
      if (update === undefined) {
        throw new LineFault(
          `the firmware's URL has expired, and no fresh one came in ${PATIENCE_MS / 1000} s`,
        );
      }
      if (update.firmware_meta.uuid !== uuid) throw superseded();
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
