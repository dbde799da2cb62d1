/**
 * The small file beside a cached file: what was announced, and which of its bytes can be relied on.
 * A sidecar that is damaged, or of another file, is silently ignored: the download then starts over.
 */
import { readFile, rm } from "node:fs/promises";
import * as v from "valibot";
import { writeFileAtomic } from "../platform/files.ts";
import { systemCode } from "../platform/failure.ts";
import { parseJson } from "../platform/text.ts";
import { type ExpectedFile, sha256 } from "./verify.ts";

const Sidecar = v.object({
  format: v.literal(1),
  /** The digest of the announcement: the same uuid may come as another file, such as a delta. */
  announced: v.string(),
  version: v.nullable(v.object({ etag: v.nullable(v.string()), totalBytes: v.nullable(v.number()) })),
  /** Bytes known to be on the disk, counted from the start; the file's own size may lie after a power cut. */
  syncedBytes: v.pipe(v.number(), v.integer(), v.minValue(0)),
});

/** The state of a cached file, as far as its bytes don't show it. */
export type KeptState = Pick<v.InferOutput<typeof Sidecar>, "version" | "syncedBytes">;

/** A file whose size is known beforehand. */
export interface CacheableFile extends ExpectedFile {
  readonly sizeBytes: number;
}

/** The paths of a cached file and of its sidecar. */
export interface CachePaths {
  readonly data: string;
  readonly sidecar: string;
}

/** Undefined when there is none for this very file. @throws the file system's error */
export async function readSidecar(path: string, expected: CacheableFile): Promise<KeptState | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
  const sidecar = v.safeParse(Sidecar, parseJson(text));
  if (!sidecar.success || sidecar.output.announced !== digestOf(expected)) return undefined;
  return sidecar.output;
}

/** Written so that a power cut leaves the old or the new one. @throws the file system's error */
export async function writeSidecar(path: string, expected: CacheableFile, state: KeptState): Promise<void> {
  const sidecar: v.InferOutput<typeof Sidecar> = { format: 1, announced: digestOf(expected), ...state };
  await writeFileAtomic(path, `${JSON.stringify(sidecar)}\n`);
}

/** Removes a cached file and its sidecar, where they exist. @throws the file system's error */
export async function removeCached({ data, sidecar }: CachePaths): Promise<void> {
  await rm(data, { force: true });
  await rm(sidecar, { force: true });
}

function digestOf({ sizeBytes, checksum, parts }: CacheableFile): string {
  return sha256(JSON.stringify([sizeBytes, checksum, parts]));
}
