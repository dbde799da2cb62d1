/** BLAKE2b-256, the hash of fwup's resources. */
import { createBLAKE2b } from "hash-wasm";

/** A BLAKE2b-256 under way: fwup's hash of resources, and the root of its UUIDs. */
export interface Blake2b {
  update(bytes: Uint8Array): void;
  digest(): Buffer;
}

/** WebAssembly, because Node's own BLAKE2b has no 256-bit form and JavaScript is 20 times slower. */
export async function createBlake2b(): Promise<Blake2b> {
  const hash = await createBLAKE2b(256);
  hash.init();
  return { update: (bytes) => void hash.update(bytes), digest: () => Buffer.from(hash.digest("binary")) };
}
