/** A fault of the hub's downloads that stops in the middle until the test lets it go on. */
import { inTime } from "../eventually.ts";
import type { Exchange } from "../hub/download-server.ts";
import type { Fault } from "../hub/faults.ts";

/** A download that stops in the middle. The test then lets it go on or breaks it off. */
export interface HeldDownload extends Fault {
  /** Resolves when it has stopped. */
  readonly held: Promise<void>;
  /** Sends the rest. */
  goOn(): void;
  /** Resets the connection. */
  breakOff(): void;
}

/** Holds a download after `sizeBytes`. */
export function holdAfter(sizeBytes: number): HeldDownload {
  let goOn = (): void => undefined;
  let stopped = (): void => undefined;
  let exchange: Exchange | undefined;
  const released = new Promise<void>((resolve) => (goOn = resolve));
  const held = new Promise<void>((resolve) => (stopped = resolve));
  return {
    name: `hold-after ${sizeBytes}`,
    get held() {
      return inTime(held, `a download stops after ${sizeBytes} bytes`);
    },
    goOn,
    breakOff: () => exchange?.reset(),
    download(current) {
      exchange = current;
      const { body } = current;
      current.body = (async function* () {
        let sent = 0;
        for await (const chunk of body) {
          const room = Math.max(0, sizeBytes - sent);
          sent += chunk.length;
          if (room > 0) yield chunk.subarray(0, room);
          if (room < chunk.length) {
            stopped();
            await released;
            yield chunk.subarray(room);
          }
        }
      })();
    },
  };
}
