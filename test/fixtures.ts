/** Shared fixtures that are not part of this repository, and the reason to skip a test without them. */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";

/**
 * The folder of shared fixtures: archives made by the real fwup with what it did with them, frames of
 * the real NervesHub. Not part of this repository; `HUBLINK_FIXTURES` says where it is.
 */
const FIXTURES = resolve(
  process.env["HUBLINK_FIXTURES"] ?? join(import.meta.dirname, "../../shared/fixtures"),
);

/** The path of a shared fixture, such as `fwup/v1.fw`. */
export function fixture(path: string): string {
  return join(FIXTURES, path);
}

/** For node:test's `skip`: false when the shared fixtures are there, else the reason. */
export const fixturesMissing: string | false = existsSync(FIXTURES)
  ? false
  : "the shared fixtures are not here; set HUBLINK_FIXTURES to their folder";
