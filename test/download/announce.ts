/** Files for the download tests, and what a hub would announce of them. */
import { createCipheriv, createHash } from "node:crypto";
import { PART_BYTES, type Verifier } from "../../src/download/verify.ts";

/** Bytes that look random and are the same for the same `seed`. */
export function someBytes(sizeBytes: number, seed = 0): Buffer {
  const key = createHash("sha256").update(String(seed)).digest();
  return createCipheriv("aes-256-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(sizeBytes));
}

/** The size and checksums that a hub announces for a file. */
export function announce(bytes: Uint8Array): { sizeBytes: number; checksum: string; parts: string[] } {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; at += PART_BYTES)
    parts.push(sha256(bytes.subarray(at, at + PART_BYTES)));
  return { sizeBytes: bytes.length, checksum: sha256(bytes), parts };
}

/** Passes a file through a verifier, as a download does. @returns the verified chunks */
export async function* verify(
  source: AsyncIterable<Uint8Array>,
  verifier: Verifier,
): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of source) yield* verifier.push(chunk);
  yield* verifier.end();
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
