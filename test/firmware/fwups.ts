/**
 * The fwup that tests run: the real one from the PATH, else the stand-in of test/fwup, or a shell script that
 * plays fwup.
 */
import { accessSync, constants } from "node:fs";
import { chmod, mkdtemp, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { frameBytes, type SaidFrame } from "./frame-bytes.ts";

const STAND_IN = join(import.meta.dirname, "../bin/fwup");

/** The fwup on the PATH, else the stand-in. */
export const fwup: string =
  (process.env["PATH"] ?? "")
    .split(delimiter)
    .map((folder) => join(folder, "fwup"))
    .find(isExecutable) ?? STAND_IN;

/** For node:test's `skip`: false with the real fwup; the stand-in can't make archives. */
export const noArchiveMaker: string | false = fwup === STAND_IN ? "needs the real fwup" : false;

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // not here
  }
}

/**
 * Writes a shell script that runs in place of fwup. Each script has a file of its own, because a shell reads its
 * script while it runs and must not find another one there.
 * @returns the script's path
 */
export async function scriptedFwup(folder: string, ...lines: string[]): Promise<string> {
  const path = join(await mkdtemp(join(folder, "fwup-")), "scripted-fwup");
  await writeFile(path, ["#!/bin/sh", ...lines, ""].join("\n"));
  await chmod(path, 0o755);
  return path;
}

/** A line of such a script that writes frames. */
export function say(...frames: SaidFrame[]): string {
  const bytes = [...Buffer.concat(frames.map(frameBytes))];
  return `printf '${bytes.map((byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("")}'`;
}
