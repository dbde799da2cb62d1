/**
 * A firmware file as the stand-in hub announces it: size, checksums, and the payloads of `update` and
 * `archive`.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";

/** The metadata of a firmware in an `update`. */
export interface FirmwareMeta {
  readonly uuid: string;
  readonly product: string;
  readonly version: string;
  readonly platform: string;
  readonly architecture: string;
  readonly author?: string | null;
  readonly description?: string | null;
  readonly vcs_identifier?: string | null;
  readonly misc?: string | null;
}

/** A file the hub serves. */
export interface Release {
  readonly meta: FirmwareMeta;
  readonly path: string;
  readonly sizeBytes: number;
  /** Hex SHA-256 of the file, upper case. */
  readonly checksum: string;
  /** Hex SHA-256 of each MiB. */
  readonly partialsChecksums: readonly string[];
  /** Its path on the download server, without the signature. */
  readonly urlPath: string;
  readonly etag: string;
}

const PART_BYTES = 1024 * 1024;

/** Measures a firmware file. @throws the file system's error */
export async function readRelease(path: string, meta: FirmwareMeta): Promise<Release> {
  const whole = createHash("sha256");
  const partialsChecksums: string[] = [];
  let sizeBytes = 0;
  // A file stream fills each chunk up to the mark, so that a chunk is a part.
  for await (const chunk of createReadStream(path, { highWaterMark: PART_BYTES })) {
    const part = chunk as Buffer;
    whole.update(part);
    sizeBytes += part.length;
    partialsChecksums.push(createHash("sha256").update(part).digest("hex").toUpperCase());
  }
  const checksum = whole.digest("hex").toUpperCase();
  return {
    meta,
    path,
    sizeBytes,
    checksum,
    partialsChecksums,
    urlPath: `/firmware/1/${meta.uuid}.${checksum.slice(0, 8)}.fw`,
    etag: `"${checksum.slice(0, 7)}"`,
  };
}

/** The payload of an `update`, as the real server words it. */
export function updatePayload(
  release: Release,
  url: string,
  deploymentId: number | null,
): Readonly<Record<string, unknown>> {
  const absent = { author: null, description: null, vcs_identifier: null, misc: null };
  return {
    update_available: true,
    firmware_url: url,
    firmware_meta: { ...absent, ...release.meta },
    size: release.sizeBytes,
    checksum: release.checksum,
    partials_checksums: release.partialsChecksums,
    deployment_id: deploymentId,
  };
}

/** The payload of an `archive`. */
export function archivePayload(
  release: Release,
  url: string,
  nowMs: number,
): Readonly<Record<string, unknown>> {
  const { uuid, version, description = null, platform, architecture } = release.meta;
  const uploadedAt = new Date(nowMs).toISOString().slice(0, 19);
  const size = release.sizeBytes;
  return { size, uuid, version, description, platform, architecture, url, uploaded_at: uploadedAt };
}
