/**
 * A value derived from files, and recomputed when one of them changes: certificates and secrets are renewed while the
 * agent runs. While the new files can't be used, the old value stays.
 */
import { stat } from "node:fs/promises";
import { systemCode } from "../platform/failure.ts";

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
