import { stat } from "node:fs/promises";
import { systemCode } from "../platform/failure.ts";

/** Something made from files, made again when one of them has changed. */
export interface Reloaded<T> {
  /** As last made. */
  readonly value: T;
  /** Why the files as they are now could not be used; `value` is then still from before. */
  readonly broken: unknown;
  /**
   * Looks at the files, and makes the value again when they have changed; never throws.
   * @returns whether they have changed, to good or to bad
   */
  refresh(): Promise<boolean>;
}

/**
 * Makes a value from files, now and at each `refresh` that finds one of them replaced.
 * @throws what `make` throws the first time
 */
export async function reloaded<T>(paths: readonly string[], make: () => Promise<T>): Promise<Reloaded<T>> {
  // Taken before the files are read: a change in between is then seen at the next refresh.
  let seen = await stampOf(paths);
  let value = await make();
  let broken: unknown;
  return {
    get value() {
      return value;
    },
    get broken() {
      return broken;
    },
    async refresh() {
      const now = await stampOf(paths);
      if (now === seen) return false;
      seen = now;
      try {
        value = await make();
        broken = undefined;
      } catch (error) {
        broken = error;
      }
      return true;
    },
  };
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
