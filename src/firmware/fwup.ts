/**
 * The agent's calls of fwup: install an archive, run a task of the board's own, answer a question. Nothing
 * is installed without a key, because fwup without a key accepts anything; and the disk is flushed afterwards,
 * because fwup does not.
 */
import { access, constants, stat } from "node:fs/promises";
import { syncPath } from "../platform/files.ts";
import type { Clock } from "../platform/clock.ts";
import { runCommand } from "../platform/command.ts";
import { failedWith, Failure, fileFailure } from "../platform/failure.ts";
import { runFwup, type FwupRun, type FwupSource } from "./fwup-process.ts";
import { isDowngrade } from "./version.ts";

/** Base64 of 32 bytes, as `fwup -g` writes it; the padding may be missing. */
const PUBLIC_KEY = /^[A-Za-z0-9+/]{43}=?$/;

/** The first fwup with `--verify-writes`. */
const VERIFIES_WRITES_SINCE = "1.7.0";

/** Why an fwup of this version can't verify what it writes, if it can't. */
export function writesUnverified(version: string): string | undefined {
  if (!isDowngrade(VERIFIES_WRITES_SINCE, version)) return undefined;
  return `fwup ${version} can't verify what it writes; ${VERIFIES_WRITES_SINCE} can (update.verify_written)`;
}

/** Reading a version or a list of tasks takes milliseconds. */
const QUERY_TIMEOUT_MS = 30_000;
const OPS_STALL_MS = 60_000;

export interface ApplyOptions extends Omit<FwupRun, "args"> {
  /** Extra arguments, after the agent's own. */
  readonly args: readonly string[];
  readonly devpath: string;
  /** The first task in the archive whose name starts so and whose requirements hold is run. */
  readonly task: string;
  /** Base64 Ed25519, ten at most, as fwup reads no more; any one of them may have signed the archive. */
  readonly publicKeys: readonly string[];
}

/** The keys that fwup can read, each once. A single bad key would make it refuse every archive. */
export function usablePublicKeys(keys: readonly string[]): string[] {
  return [...new Set(keys.map((key) => key.trim()))].filter((key) => PUBLIC_KEY.test(key));
}

/** fwup ignores the keys after these. */
const MAX_KEYS = 10;

/**
 * Asks fwup with the keys by tens, until it accepts: an organisation may have more keys than fwup takes.
 * @param keys base64 Ed25519
 * @returns its answer, and the keys with which it accepted
 * @throws Failure `no_public_key`; what `ask` throws with the last ten
 */
export async function byTens<T>(
  keys: readonly string[],
  ask: (keys: readonly string[]) => Promise<T>,
): Promise<{ readonly answer: T; readonly keys: readonly string[] }> {
  const left = usablePublicKeys(keys);
  for (;;) {
    const ten = left.splice(0, MAX_KEYS);
    try {
      return { answer: await ask(ten), keys: ten };
    } catch (error) {
      if (left.length === 0) throw error;
    }
  }
}

/** How a board comes by keys to verify signatures with. */
export const KEYS_REMEDY = "set firmware.public_keys, or let the hub send its keys";

/**
 * The arguments by which fwup verifies signatures.
 * @throws Failure when no key can be used: fwup without a key accepts any archive
 */
export function keyArguments(keys: readonly string[]): string[] {
  const usable = usablePublicKeys(keys);
  if (usable.length === 0) {
    throw new Failure("no_public_key", `no usable public key: ${KEYS_REMEDY}`);
  }
  return usable.flatMap((key) => ["--public-key", key]);
}

/**
 * Streams an archive through fwup into the other slot, then flushes the device, which fwup does not.
 * fwup can't act on bytes that `source` withholds, so a source that proves the file before it gives away the
 * end makes sure that no unproven file is finished.
 * @throws Failure `fwup_…`; what `source` throws (fwup is killed first); the signal's reason; Failure when
 *   there is no usable key or `devpath` is nothing to write to
 */
export async function applyFirmware(options: ApplyOptions, source: FwupSource): Promise<void> {
  const keys = keyArguments(options.publicKeys);
  await checkDevpath(options.devpath);
  const args = [
    ...["--apply", "--no-unmount", "-d", options.devpath, "--task", options.task],
    ...keys,
    ...options.args,
  ];
  await runFwup({ ...options, args }, source);
  await syncPath(options.devpath);
}

export interface OpsTaskOptions {
  readonly fwup: string;
  /** The archive of tasks that the board's own root file system holds. */
  readonly opsFile: string;
  readonly devpath: string;
  readonly task: string;
  readonly clock: Clock;
  readonly signal?: AbortSignal;
  readonly onWarning?: (text: string) => void;
}

/**
 * Runs a task of the board's own ops file (validate, revert, invalidate) and flushes the device. No key:
 * the file is part of the running, verified firmware, and only root can change it.
 * @throws Failure `fwup_…`; the signal's reason; Failure when the ops file is missing or `devpath` is nothing
 *   to write to
 */
export async function runOpsTask(options: OpsTaskOptions): Promise<void> {
  await checkFile("ops file", options.opsFile);
  await checkDevpath(options.devpath);
  const args = [
    ...["--apply", "--no-unmount", "-d", options.devpath],
    ...["-i", options.opsFile, "--task", options.task],
  ];
  await runFwup({ ...options, args, stallMs: OPS_STALL_MS });
  await syncPath(options.devpath);
}

export interface QueryOptions {
  readonly fwup: string;
  /** Default: 30 s. */
  readonly timeoutMs?: number;
  readonly clock: Clock;
  readonly signal?: AbortSignal;
}

/** The version that `fwup --version` prints, such as `1.16.0`. */
export async function fwupVersion(options: QueryOptions): Promise<string> {
  return (await queryFwup(options, ["--version"])).trim();
}

/** The names of the tasks in an archive on disk. */
export async function listTasks(options: QueryOptions & { readonly file: string }): Promise<string[]> {
  await checkFile("firmware", options.file);
  const names = await queryFwup(options, ["-l", "-i", options.file]);
  return names.split("\n").filter((name) => name !== "");
}

/** Reading all of a large archive on a slow board. */
const VERIFY_TIMEOUT_MS = 30 * 60_000;

/**
 * Reads the whole of an archive on disk and verifies its signature and content.
 * @param options.publicKeys base64 Ed25519; any one of them may have signed it
 * @throws Failure with fwup's own words, or when there is no usable key
 */
export async function verifyArchive(
  options: QueryOptions & { readonly file: string; readonly publicKeys: readonly string[] },
): Promise<void> {
  const query = { ...options, timeoutMs: VERIFY_TIMEOUT_MS };
  await byTens(options.publicKeys, async (keys) =>
    queryFwup(query, ["-V", ...keyArguments(keys), "-i", options.file]),
  );
}

/**
 * Runs an unframed fwup that only reads, and gives its output.
 * @throws Failure with fwup's own words
 */
export async function queryFwup(
  { fwup, timeoutMs = QUERY_TIMEOUT_MS, clock, signal }: QueryOptions,
  args: readonly string[],
  stdin?: Uint8Array,
): Promise<string> {
  const result = await runCommand([fwup, ...args], {
    clock,
    timeoutMs,
    ...(signal === undefined ? {} : { signal }),
    ...(stdin === undefined ? {} : { stdin }),
  }).catch((error: unknown) => {
    if (!failedWith(error, "command_failed")) throw error;
    throw new Failure("fwup_missing", `${error.message} (see firmware.fwup)`, { cause: error });
  });
  signal?.throwIfAborted();
  if (result.exitCode === 0) return result.stdout;
  // Unframed, fwup puts its errors on the standard output, and details on the other.
  const lines = `${result.stderr}\n${result.stdout}`.split("\n").filter((line) => line.trim() !== "");
  const words = lines.at(-1)?.replace(/^fwup: /, "") ?? "ended without a reason";
  throw new Failure("failed", result.timedOut ? "fwup did not answer in time" : `fwup: ${words}`);
}

/**
 * Refuses a path that is not a device or file: fwup would make a missing path a regular file and succeed.
 * @throws Failure
 */
export async function checkDevpath(path: string): Promise<void> {
  const stats = await statOf("device", path);
  if (!stats.isBlockDevice() && !stats.isFile())
    throw new Failure("config", `device ${path} is neither a block device nor a file; set firmware.devpath`);
  try {
    await access(path, constants.R_OK | constants.W_OK);
  } catch (error) {
    throw fileFailure("device", path, error);
  }
}

/**
 * Refuses a path that is not a file.
 * @param what what the file is to the user, such as `ops file`
 * @throws Failure
 */
export async function checkFile(what: string, path: string): Promise<void> {
  const stats = await statOf(what, path);
  if (!stats.isFile()) throw new Failure("no_input", `${what} ${path} is not a file`);
}

async function statOf(what: string, path: string): Promise<Awaited<ReturnType<typeof stat>>> {
  try {
    return await stat(path);
  } catch (error) {
    throw fileFailure(what, path, error);
  }
}
