/** Opens a firmware archive as fwup does: signature, meta.conf and required version, then its metadata. */
import type { KeyObject } from "node:crypto";
import { FwupError } from "./fwup-error.ts";
import type { Input } from "./input.ts";
import { signatureFits } from "./keys.ts";
import { parseMetaConf, textSetting, type Section } from "./meta-conf.ts";
import { writeAll } from "./output.ts";
import { firmwareUuid } from "./uuid.ts";
import { ZipStream, type ZipEntry } from "./zip-stream.ts";

/** The fwup whose behaviour this one copies. */
export const VERSION = "1.16.0";

const SIGNATURE_BYTES = 64;
const MIN_META_CONF_BYTES = 10;
const MAX_META_CONF_BYTES = 50_000;

/** An archive whose signature and meta.conf have been read. */
export interface Firmware {
  readonly config: Section;
  readonly uuid: string;
  readonly nickname: string;
  /** ISO 8601, to the second: the time of the archive's meta.conf. */
  readonly creationDate: string;
  readonly signed: boolean;
  /** Stands before the first resource. */
  readonly archive: ZipStream;
}

export interface FirmwareSource {
  readonly input: Input;
  /** Its name in messages. */
  readonly name: string;
  /** The signature must fit one of them; with none, nothing is verified. */
  readonly publicKeys: readonly KeyObject[];
  /** For `${NAME}` in the meta.conf; fwup adds its own. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/**
 * Reads an archive up to its first resource and verifies its signature.
 * @param firstEntryError the message when it has no first entry; by default the reason
 * @throws FwupError when it can't be read, isn't signed as it should be, or needs a newer fwup
 */
export async function openFirmware(source: FirmwareSource, firstEntryError?: string): Promise<Firmware> {
  const archive = await ZipStream.open(source.input);
  const nextOr = async (message: string | undefined): Promise<ZipEntry> => {
    const entry = await archive.next().catch((error: unknown) => {
      throw message === undefined ? error : new FwupError(message, { cause: error });
    });
    if (entry === undefined) throw new FwupError(message ?? "");
    return entry;
  };
  let entry = await nextOr(firstEntryError);
  let signature: Buffer | undefined;
  if (entry.name === "meta.conf.ed25519") {
    signature = await entry.readAll(SIGNATURE_BYTES);
    if (signature.length !== SIGNATURE_BYTES)
      throw new FwupError(`Unexpected meta.conf.ed25519 size: ${signature.length}`);
    entry = await nextOr("Expecting more than meta.conf.ed25519 in archive");
  }
  if (entry.name !== "meta.conf")
    throw new FwupError(`Expecting meta.conf to be at the beginning of ${source.name}`);
  const metaConf = await entry.readAll(MAX_META_CONF_BYTES);
  if (metaConf.length < MIN_META_CONF_BYTES || metaConf.length >= MAX_META_CONF_BYTES)
    throw new FwupError(`Unexpected meta.conf size: ${metaConf.length}`);
  if (source.publicKeys.length > 0) {
    if (signature === undefined) throw new FwupError("Expecting signed firmware archive.");
    if (!signatureFits(signature, metaConf, source.publicKeys))
      throw new FwupError("Firmware archive's meta.conf fails digital signature verification.");
  }
  const { uuid, nickname } = await firmwareUuid(metaConf);
  const config = parseMetaConf(metaConf.toString(), {
    ...source.environment,
    FWUP_META_UUID: uuid,
    FWUP_META_NICKNAME: nickname,
  });
  requireVersion(config);
  return {
    config,
    uuid,
    nickname,
    creationDate: entry.modified.toISOString().replace(/\.\d+Z$/, "Z"),
    signed: signature !== undefined,
    archive,
  };
}

/** The reason goes to stderr, where libconfuse writes; the frame only says that something is wrong. */
function requireVersion(config: Section): void {
  const required = config.settings.get("require-fwup-version");
  const [version] = required?.values ?? [];
  if (required === undefined || version === undefined || !isNewer(version, VERSION)) return;
  const reason = `fwup version '${version}' required. This is fwup version '${VERSION}'.`;
  writeAll(2, `[buf]:${required.line}: ${reason}\n`);
  throw new FwupError("Unexpected error parsing meta.conf");
}

function isNewer(version: string, than: string): boolean {
  const [a, b] = [version, than].map((each) => each.split(".").map((part) => Number.parseInt(part)));
  for (let i = 0; i < 3; i++) {
    const difference = (a?.[i] ?? 0) - (b?.[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return false;
}

const METADATA_KEYS = [
  "meta-product",
  "meta-description",
  "meta-version",
  "meta-author",
  "meta-platform",
  "meta-architecture",
  "meta-creation-date",
  "meta-fwup-version",
  "meta-misc",
  "meta-vcs-identifier",
  "meta-uuid",
  "meta-nickname",
];

/** The value of a metadata key; undefined when the firmware does not have it. */
export function metadataValue(firmware: Firmware, key: string): string | undefined {
  if (key === "meta-uuid") return firmware.uuid;
  if (key === "meta-nickname") return firmware.nickname;
  return (
    textSetting(firmware.config, key) ?? (key === "meta-creation-date" ? firmware.creationDate : undefined)
  );
}

/** All metadata as fwup prints it: a line `key=value` each, quoted only where needed. */
export function metadataText(firmware: Firmware): string {
  return METADATA_KEYS.map((key) => ({ key, value: metadataValue(firmware, key) ?? "" }))
    .filter(({ value }) => value !== "")
    .map(({ key, value }) => `${key}=${quoteIfNeeded(value)}\n`)
    .join("");
}

/** A value as fwup writes it, in metadata and meta.conf alike. */
export function quoteIfNeeded(value: string): string {
  return /^[A-Za-z0-9_.]+$/.test(value) ? value : `"${value.replace(/["\\]/g, "\\$&")}"`;
}
