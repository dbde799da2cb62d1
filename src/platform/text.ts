import { isUtf8 } from "node:buffer";

/**
 * The text of UTF-8 bytes, without a byte order mark. TextDecoder's own `fatal` is not there in a Node
 * without ICU, such as the base of our 32-bit binaries.
 * @throws TypeError when they are not UTF-8
 */
export function decodeUtf8(bytes: Uint8Array): string {
  if (!isUtf8(bytes)) throw new TypeError("not UTF-8");
  return new TextDecoder().decode(bytes);
}

/** Undefined for what is no JSON: no schema takes that. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Cuts a byte stream into lines; a line above `maxBytes` is told once, and ends it all. */
export function splitLines(
  maxBytes: number,
  onLine: (line: string) => void,
  onTooLong: () => void,
): (chunk: Uint8Array) => void {
  let pending: Buffer = Buffer.alloc(0);
  let tooLong = false;
  return (chunk) => {
    if (tooLong) return;
    pending = Buffer.concat([pending, chunk]);
    for (let end = pending.indexOf(10); end !== -1 && end <= maxBytes; end = pending.indexOf(10)) {
      const line = pending.subarray(0, end).toString("utf8");
      pending = pending.subarray(end + 1);
      if (line.trim() !== "") onLine(line);
    }
    const end = pending.indexOf(10);
    if ((end === -1 ? pending.length : end) > maxBytes) {
      tooLong = true;
      pending = Buffer.alloc(0);
      onTooLong();
    }
  };
}
