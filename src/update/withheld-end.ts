/**
 * Withholds the end of a firmware file from fwup until the last check has passed. fwup switches slots as soon as
 * it sees the archive's directory, which stands at the end, so nothing can be checked after that.
 */
import { TAIL_BYTES } from "../download/verify.ts";

/**
 * Passes `source` on, its last {@link TAIL_BYTES} only once `confirm` has resolved.
 * @throws what `source` and `confirm` throw
 */
export async function* withholdEnd(
  source: AsyncIterable<Uint8Array>,
  confirm: () => Promise<void>,
): AsyncGenerator<Uint8Array, void> {
  let held: Uint8Array = new Uint8Array();
  for await (const chunk of source) {
    const free = held.length + chunk.length - TAIL_BYTES;
    if (free >= held.length) {
      if (held.length > 0) yield held;
      const rest = free - held.length;
      if (rest > 0) yield chunk.subarray(0, rest);
      held = Buffer.from(chunk.subarray(rest)); // a copy: the chunk may be overwritten once the next is asked for
    } else {
      if (free > 0) yield held.subarray(0, free);
      held = Buffer.concat([held.subarray(Math.max(0, free)), chunk]);
    }
  }
  await confirm();
  if (held.length > 0) yield held;
}
