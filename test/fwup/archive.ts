/**
 * Makes firmware archives and boards' disks for tests, without the real fwup: the same archives as fwup would
 * make of the fixtures' configuration.
 */
import { createCipheriv, createHash, generateKeyPairSync, sign, type KeyObject } from "node:crypto";
import { constants } from "node:fs";
import { copyFile, open, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createBlake2b } from "./blake2b.ts";
import { BLOCK_BYTES } from "./block-cache.ts";
import { DEFAULT_LAYOUT, diskBytes, type Layout } from "./layout.ts";
import { firmwareConf, opsConf, type FirmwareMeta, type Target } from "./meta-conf-text.ts";
import { realFwup, runFwup, STAND_IN } from "./run.ts";
import { firmwareUuid } from "./uuid.ts";
import { zipArchive, type Compression, type ZipContent } from "./zip-writer.ts";

export interface SigningKey {
  /** In the form of `fwup --public-key`. */
  readonly publicKeyBase64: string;
  readonly privateKey: KeyObject;
}

/** A key for signing firmware (Ed25519). */
export function generateSigningKey(): SigningKey {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const { x = "" } = publicKey.export({ format: "jwk" });
  return { publicKeyBase64: Buffer.from(x, "base64url").toString("base64"), privateKey };
}

/** Content that no compressor can shrink; the same for the same seed. */
interface SeededContent {
  readonly sizeBytes: number;
  readonly seed: string;
}

export interface FirmwareOptions {
  /** The path of the archive. */
  readonly path: string;
  readonly product: string;
  readonly version: string;
  readonly platform: string;
  readonly architecture: string;
  /** The content of the slot; it must fit. */
  readonly rootfs: Buffer | SeededContent;
  /** Without a key the archive is not signed. */
  readonly privateKey?: KeyObject;
  /** How the root file system is stored: `deflated` by default, as by fwup; `stored` is faster for big ones. */
  readonly compression?: Compression;
  readonly layout?: Layout;
}

/** A firmware archive, described as the hub describes it. */
export interface MadeFirmware {
  readonly path: string;
  readonly uuid: string;
  readonly sizeBytes: number;
  /** The archive's SHA-256 in upper-case hexadecimal digits, as the hub sends it. */
  readonly sha256: string;
  /** The SHA-256 of each 1 MiB part, in order, in the same form. */
  readonly partials: readonly string[];
  readonly meta: FirmwareMeta;
}

/**
 * Writes an A/B firmware with the tasks of the fixtures' fwup.conf: complete, upgrade.a, upgrade.b,
 * upgrade.notvalidated, upgrade.wrongplatform. Its UUID follows from all but the key and compression.
 * Holds no more than pieces of the content in memory.
 */
export async function makeFirmware(options: FirmwareOptions): Promise<MadeFirmware> {
  const { path, product, version, platform, architecture, rootfs, layout = DEFAULT_LAYOUT } = options;
  const content: ZipContent = {
    name: "data/rootfs.img",
    sizeBytes: Buffer.isBuffer(rootfs) ? rootfs.length : rootfs.sizeBytes,
    pieces: () => (Buffer.isBuffer(rootfs) ? [rootfs] : seededPieces(rootfs)),
  };
  if (content.sizeBytes > layout.slotBlocks * BLOCK_BYTES)
    throw new Error(`${path}: a root file system of ${content.sizeBytes} bytes does not fit the slot`);
  const hash = await createBlake2b();
  for (const piece of content.pieces()) hash.update(piece);
  const about = {
    product,
    description: "A/B test firmware",
    version,
    author: "hublink",
    platform,
    architecture,
    vcs_identifier: "none",
  };
  const resource = { sizeBytes: content.sizeBytes, blake2b: hash.digest().toString("hex") };
  const metaConf = Buffer.from(firmwareConf(about, resource, layout));
  const written = await writeArchive(path, metaConf, options.privateKey, [
    { ...content, compression: options.compression ?? "deflated" },
  ]);
  return { path, ...written, meta: { ...about, uuid: written.uuid } };
}

export interface OpsOptions {
  readonly path: string;
  readonly layout?: Layout;
  readonly privateKey?: KeyObject;
  /** The values that `revert` requires of a slot; by default the fixtures' `rpi0` and `arm`. */
  readonly target?: Target;
}

/**
 * Writes an ops.fw with the tasks of the fixtures' fwup-ops.conf: validate, validate.already,
 * revert.a/b/fail, invalidate.a/b, status.a/b.
 */
export async function makeOps(options: OpsOptions): Promise<{ path: string; uuid: string }> {
  const { path, layout = DEFAULT_LAYOUT, target = { platform: "rpi0", architecture: "arm" } } = options;
  const { uuid } = await writeArchive(path, Buffer.from(opsConf(target, layout)), options.privateKey, []);
  return { path, uuid };
}

export interface BoardOptions {
  /** An existing folder, for the disk and its fw_env.config. */
  readonly dir: string;
  /** The archive whose `complete` is applied. */
  readonly firmware: string;
  /** The layout that the archive was made with. */
  readonly layout?: Layout;
}

/**
 * A board's disk as it leaves the factory: a sparse image on which a firmware runs in slot A, validated,
 * with the serial number SN001. Made by the fwup that the PATH has, else by the stand-in.
 * @returns the image, and the configuration with which fw_printenv finds its environment
 */
export async function makeBoard(options: BoardOptions): Promise<{ disk: string; fwEnvConfig: string }> {
  const { dir, firmware, layout = DEFAULT_LAYOUT } = options;
  const disk = join(dir, "disk.img");
  await writeFile(disk, "");
  await truncate(disk, diskBytes(layout));
  const args = ["--apply", "--no-unmount", "-q", "-d", disk, "--task", "complete", "-i", firmware];
  const run = await runFwup(realFwup() ?? STAND_IN, args, { env: { NERVES_SERIAL_NUMBER: "SN001" } });
  if (run.exitCode !== 0) throw new Error(`${firmware} can't be installed: ${run.stdout.toString()}`);
  return { disk, fwEnvConfig: await configure(disk, dir, layout) };
}

/** The same as `makeBoard`, as a copy of a disk that it made with the usual layout. */
export async function copyBoard(from: string, dir: string): Promise<{ disk: string; fwEnvConfig: string }> {
  const disk = join(dir, "disk.img");
  await copyFile(from, disk, constants.COPYFILE_FICLONE); // no bytes where the file system can do without
  return { disk, fwEnvConfig: await configure(disk, dir, DEFAULT_LAYOUT) };
}

async function configure(disk: string, dir: string, layout: Layout): Promise<string> {
  const fwEnvConfig = join(dir, "fw_env.config");
  await writeFile(fwEnvConfig, environmentConfig(disk, layout));
  return fwEnvConfig;
}

/** The fw_env.config that leads to the environment on a disk. */
export function environmentConfig(disk: string, layout: Layout): string {
  const { environmentOffset, secondEnvironmentOffset, environmentBlocks } = layout;
  const hex = (blocks: number): string => `0x${(blocks * BLOCK_BYTES).toString(16)}`;
  return [environmentOffset, secondEnvironmentOffset]
    .filter((offset) => offset !== undefined)
    .map((offset) => `${disk} ${hex(offset)} ${hex(environmentBlocks)}\n`)
    .join("");
}

/** The creation date of all archives made here: the same content gives the same archive. */
const CREATED = new Date("2026-01-01T00:00:00Z");
const PART_BYTES = 1024 * 1024;

/**
 * Writes an archive with any meta.conf and resources.
 * @returns the size and hashes of the archive
 */
export async function writeArchive(
  path: string,
  metaConf: Buffer,
  privateKey: KeyObject | undefined,
  resources: readonly (ZipContent & { readonly compression: Compression })[],
): Promise<Omit<MadeFirmware, "path" | "meta">> {
  const file = (name: string, content: Buffer, compression: Compression) => ({
    name,
    sizeBytes: content.length,
    pieces: () => [content],
    compression,
  });
  const signature =
    privateKey === undefined ? [] : [file("meta.conf.ed25519", sign(null, metaConf, privateKey), "stored")];
  const files = [
    ...signature,
    { ...file("meta.conf", metaConf, "deflated"), modified: CREATED },
    ...resources,
  ];
  const hashes = new ArchiveHashes();
  const handle = await open(path, "w");
  try {
    for await (const piece of zipArchive(files)) {
      hashes.update(piece);
      await handle.writeFile(piece);
    }
  } finally {
    await handle.close();
  }
  return { uuid: (await firmwareUuid(metaConf)).uuid, ...hashes.digest() };
}

/** The hashes of a whole archive and of its parts. */
class ArchiveHashes {
  readonly #whole = createHash("sha256");
  readonly #partials: string[] = [];
  #part = createHash("sha256");
  #partBytes = 0;
  #sizeBytes = 0;

  update(bytes: Buffer): void {
    this.#whole.update(bytes);
    this.#sizeBytes += bytes.length;
    for (let rest = bytes; rest.length > 0;) {
      const piece = rest.subarray(0, PART_BYTES - this.#partBytes);
      this.#part.update(piece);
      this.#partBytes += piece.length;
      if (this.#partBytes === PART_BYTES) this.#endPart();
      rest = rest.subarray(piece.length);
    }
  }

  digest(): { sizeBytes: number; sha256: string; partials: readonly string[] } {
    if (this.#partBytes > 0) this.#endPart();
    return {
      sizeBytes: this.#sizeBytes,
      sha256: this.#whole.digest("hex").toUpperCase(),
      partials: this.#partials,
    };
  }

  #endPart(): void {
    this.#partials.push(this.#part.digest("hex").toUpperCase());
    this.#part = createHash("sha256");
    this.#partBytes = 0;
  }
}

const SEEDED_PIECE_BYTES = 256 * 1024;

/** A cipher's keystream: random to a compressor, and as fast as memory. */
function* seededPieces({ seed, sizeBytes }: SeededContent): Generator<Buffer, void> {
  const key = createHash("sha256").update(seed).digest().subarray(0, 16);
  const keystream = createCipheriv("aes-128-ctr", key, Buffer.alloc(16));
  for (let left = sizeBytes; left > 0; left -= SEEDED_PIECE_BYTES)
    yield keystream.update(Buffer.alloc(Math.min(left, SEEDED_PIECE_BYTES)));
}
