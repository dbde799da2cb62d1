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
