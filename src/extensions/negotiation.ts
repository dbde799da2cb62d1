/**
 * Which extensions a board joins with, in which versions (protocol §7.1), and what became of each. Rule: versions are
 * compared as text, and a hub that names none gets the lowest of each: what it does not know would make it refuse
 * the join for all of them.
 */
import type { Extension } from "./extension.ts";

/** The versions that the hub has switched on for the product, by the names of the extensions. */
export type OfferedVersions = ReadonlyMap<string, readonly string[]>;

/** What is to be seen of one extension in the status. */
export interface ExtensionState {
  readonly name: string;
  /**
   * `off`: not turned on in the configuration. `waiting`: there is no hub, or it has not answered yet. `off_at_hub`:
   * the hub has not switched it on, or has no version in common. `detached`: it failed, or the hub has ended it.
   */
  readonly state: "off" | "waiting" | "off_at_hub" | "attached" | "detached";
  /** The version that was agreed on; null while there is none. */
  readonly version: string | null;
}

/**
 * The payload of the join: a version for each extension that both sides have.
 * @param offered undefined when the hub does not say
 */
export function agreedVersions(
  extensions: Iterable<Extension>,
  offered: OfferedVersions | undefined,
): Readonly<Record<string, string>> {
  const agreed: Record<string, string> = {};
  for (const extension of extensions) {
    const { name, versions } = extension;
    const version =
      offered === undefined
        ? lowestVersion(extension)
        : versions.find((candidate) => offered.get(name)?.includes(candidate));
    if (version !== undefined) agreed[name] = version;
  }
  return agreed;
}

/** The version that every hub knows which knows the extension at all. */
export function lowestVersion({ versions }: Extension): string {
  return versions.at(-1) ?? versions[0];
}
