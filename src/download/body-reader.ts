import type { Readable } from "node:stream";

/** Reads a body to its end, or to where it broke. */
export interface BodyReader {
  /**
   * The next bytes; null at the end.
   * @throws what broke the body, once all that came before it has been given
   */
  next(): Promise<Buffer | null>;
}

/** So much is taken from the line ahead of the consumer at most, besides the sockets' own buffers. */
const AHEAD_BYTES = 1024 * 1024;

/**
 * A broken stream drops what is in its buffers, and its own iterator leaves bytes there. On a line that breaks often
 * these are fetched again and again: so they are taken out as soon as they come.
 */
export function readBody(body: Readable): BodyReader {
  const chunks: Buffer[] = [];
  let aheadBytes = 0;
  let over: { readonly error: Error | null } | undefined;
  let wake = (): void => undefined;
  const end = (error: Error | null): void => {
    over ??= { error };
    wake();
  };
  body.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    aheadBytes += chunk.length;
    if (aheadBytes >= AHEAD_BYTES) body.pause();
    wake();
  });
  body.once("error", end);
  body.once("close", () => {
    end(null);
  });
  return {
    async next() {
      while (chunks.length === 0 && over === undefined) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      const chunk = chunks.shift();
      if (chunk !== undefined) {
        aheadBytes -= chunk.length;
        if (aheadBytes < AHEAD_BYTES && body.isPaused()) body.resume();
        return chunk;
      }
      const error = over?.error ?? null;
      if (error !== null) throw error;
      return null;
    },
  };
}
