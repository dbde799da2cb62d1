import { LineFault } from "../download/retries.ts";
import type { Update } from "../hub/device-messages.ts";
import type { Clock } from "../platform/clock.ts";
import { Failure } from "../platform/failure.ts";

/** Has the hub send an update that is under way again, since its signed URL has expired. */
export interface UpdateAgain {
  /**
   * The update of `uuid` as the hub sends it now.
   * @throws LineFault when none came; Failure `url_expired` when the hub sends another one; the signal's reason
   */
  ask(uuid: string, signal: AbortSignal): Promise<Update>;
  /** Takes notice of an update that the hub sent. */
  arrived(update: Update): void;
}

/** NervesHub sends it within some 3 s of the join; the rest is for a line that is away. */
const PATIENCE_MS = 2 * 60_000;

export function createUpdateAgain(clock: Clock, askHub: () => void): UpdateAgain {
  let latestUuid: string | undefined;
  let onUpdate: ((update: Update) => void) | undefined;
  return {
    async ask(uuid, signal) {
      signal.throwIfAborted();
      if (latestUuid !== uuid) throw superseded();
      askHub();
      let cancel = (): void => undefined;
      let onAbort = (): void => undefined;
      try {
        return await new Promise<Update>((resolve, reject) => {
          onUpdate = (update) => {
            if (update.firmware_meta.uuid === uuid) resolve(update);
            else reject(superseded());
          };
          cancel = clock.after(PATIENCE_MS, () =>
            reject(
              new LineFault(
                `the firmware's URL has expired, and no fresh one came in ${PATIENCE_MS / 1000} s`,
              ),
            ),
          );
          onAbort = () => reject(signal.reason as Error);
          signal.addEventListener("abort", onAbort, { once: true });
        });
      } finally {
        onUpdate = undefined;
        cancel();
        signal.removeEventListener("abort", onAbort);
      }
    },
    arrived(update) {
      latestUuid = update.firmware_meta.uuid;
      onUpdate?.(update);
    },
  };
}

function superseded(): Failure {
  return new Failure(
    "url_expired",
    "the firmware's URL has expired, and the hub offers another firmware by now",
  );
}
