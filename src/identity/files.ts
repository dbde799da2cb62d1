/**
 * Reading the files that an identity is made of, and reading them again when they change: certificates and secrets are
 * renewed while the agent runs. Keys, PINs, passphrases and shared secrets come from files that only their owner may
 * open, which is root or the agent's user: a copy that a package or a careless `cp` left readable is refused, since it would give the device away without
 * anybody noticing.
 */
import { constants, open, readFile, stat } from "node:fs/promises";
import { Failure, fileFailure, systemCode } from "../platform/failure.ts";

/** Permission bits of group and others; execute counts too, since no secret has a use for it. */
const OTHERS = 0o077;

/**
 * The bytes of a file that only its owner may read, such as a private key in DER.
 * @param what what the file is to the user, such as `key`
 * @throws Failure `config` when others may read, write or execute it, or it belongs to a user other than root and the
 *   agent's: that one could read and replace it; `no-input`, `permission` or `io` when it
 *   can't be read
 */
export async function readOwnerOnlyFile(what: string, path: string): Promise<Buffer> {
  return named(what, path, async () => {
    // Non-blocking: opening a pipe would wait for somebody who writes to it.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stat = await file.stat();
      if (!stat.isFile()) throw new Failure("no_input", `${what} ${path} is not a regular file`);
      if ((stat.mode & OTHERS) !== 0) {
        const mode = (stat.mode & 0o777).toString(8).padStart(4, "0");
        throw new Failure(
          "secret_exposed",
          `${what} ${path} is open to others than its owner (mode ${mode}); chmod 600 ${path}`,
        );
      }
      const own = process.geteuid?.();
      if (stat.uid !== 0 && stat.uid !== own) {
        throw new Failure(
          "secret_exposed",
          `${what} ${path} belongs to another user (uid ${stat.uid}); chown ${own ?? 0} ${path}, or run hublink as that user`,
        );
      }
      return await file.readFile();
    } finally {
      await file.close();
    }
  });
}

/**
 * The text of a file that only its owner may read, without the one newline that editors add at the end.
 * @throws Failure as {@link readOwnerOnlyFile}
 */
export async function readSecretFile(what: string, path: string): Promise<string> {
  return (await readOwnerOnlyFile(what, path)).toString().replace(/\r?\n$/, "");
}

/**
 * The bytes of a file that anybody may read.
 * @param what what the file is to the user, such as `certificate`
 * @throws Failure `no-input`, `permission` or `io`
 */
export async function readPublicFile(what: string, path: string): Promise<Buffer> {
  return named(what, path, async () => readFile(path));
}

/** How a new board comes by what is missing. */
const MADE_BY: ReadonlyMap<string, string> = new Map([
  ["certificate", "hublink identity --csr requests one, after --generate has made the key"],
  ["key", "hublink identity --generate makes one"],
]);

async function named(what: string, path: string, read: () => Promise<Buffer>): Promise<Buffer> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof Failure) throw error;
    const failure = fileFailure(what, path, error);
    const madeBy = systemCode(error) === "ENOENT" ? MADE_BY.get(what) : undefined;
    if (madeBy === undefined) throw failure;
    throw new Failure("key_missing", `${failure.message}; ${madeBy}`, { cause: error });
  }
}

/** A value made of files, read again when one of them has changed. */
export class Reloaded<T> {
  readonly #paths: readonly string[];
  readonly #read: () => Promise<T>;
  #stamp: string;
  #value: T;
  #broken: unknown;

  private constructor(paths: readonly string[], read: () => Promise<T>, stamp: string, value: T) {
    this.#paths = paths;
    this.#read = read;
    this.#stamp = stamp;
    this.#value = value;
  }

  /** Reads the value the first time. @throws what `read` throws */
  static async open<T>(paths: readonly string[], read: () => Promise<T>): Promise<Reloaded<T>> {
    // The stamp comes before the value: a change in between is then seen at the next refresh.
    const stamp = await stampOf(paths);
    return new Reloaded(paths, read, stamp, await read());
  }

  /** As last read. */
  get value(): T {
    return this.#value;
  }

  /** Why the present files could not be used; `value` is then from before. */
  get broken(): unknown {
    return this.#broken;
  }

  /**
   * Reads the value again if a file has changed; never throws.
   * @returns whether one has changed, for better or worse
   */
  async refresh(): Promise<boolean> {
    const stamp = await stampOf(this.#paths);
    if (stamp === this.#stamp) return false;
    this.#stamp = stamp;
    try {
      this.#value = await this.#read();
      this.#broken = undefined;
    } catch (error) {
      this.#broken = error;
    }
    return true;
  }
}

/** Differs after any change: ctime moves with content and mode, the inode with a replacement. */
async function stampOf(paths: readonly string[]): Promise<string> {
  const stamps = paths.map(async (path) => {
    try {
      const { ino, size, ctimeNs } = await stat(path, { bigint: true });
      return `${ino}/${size}/${ctimeNs}`;
    } catch (error) {
      return systemCode(error) ?? "unknown";
    }
  });
  return (await Promise.all(stamps)).join(" ");
}
