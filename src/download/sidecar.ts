import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import * as v from "valibot";
import { writeFileAtomic } from "../platform/files.ts";
import { systemCode } from "../platform/failure.ts";
import type { ExpectedFile } from "./verify.ts";

export const Sidecar = v.object({
  format: v.literal(1),
  /** Of what the hub announced: the same uuid may come as another file, such as a delta. */
  announced: v.string(),
  version: v.nullable(v.object({ etag: v.nullable(v.string()), totalBytes: v.nullable(v.number()) })),
  /** So many first bytes were on the disk when this was written; the file's own size may lie after a power cut. */
  syncedBytes: v.pipe(v.number(), v.integer(), v.minValue(0)),
});

/** The state of a cached file, as far as it can't be told from its bytes. */
export type KeptState = Pick<v.InferOutput<typeof Sidecar>, "version" | "syncedBytes">;

/** Undefined when there is none for this very file. @throws the file system's error */
export async function readSidecar(path: string, expected: CacheableFile): Promise<KeptState | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
  try {
    const sidecar = v.parse(Sidecar, JSON.parse(text));
    return sidecar.announced === digestOf(expected) ? sidecar : undefined;
  } catch {
    return undefined; // damaged: what it spoke of is of no use
  }
}

/** Written so that a power cut leaves the old or the new one. @throws the file system's error */
export async function writeSidecar(path: string, expected: CacheableFile, state: KeptState): Promise<void> {
  const sidecar: v.InferOutput<typeof Sidecar> = { format: 1, announced: digestOf(expected), ...state };
  await writeFileAtomic(path, `${JSON.stringify(sidecar)}\n`);
}

function digestOf({ sizeBytes, checksum, parts }: CacheableFile): string {
  return createHash("sha256")
    .update(JSON.stringify([sizeBytes, checksum, parts]))
    .digest("hex");
}

/** A file whose size is known beforehand. */
export interface CacheableFile extends ExpectedFile {
  readonly sizeBytes: number;
}
