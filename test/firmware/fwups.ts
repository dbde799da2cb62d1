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

/** For node:test's `skip`: false when archives can be made, which the stand-in doesn't. */
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
 * Writes a shell script that is run in place of fwup; returns its path. Each has a file of its own: a
 * shell reads its script as it goes, and must not find another's in it.
 */
export async function scriptedFwup(folder: string, ...lines: string[]): Promise<string> {
  const path = join(await mkdtemp(join(folder, "fwup-")), "scripted-fwup");
  await writeFile(path, ["#!/bin/sh", ...lines, ""].join("\n"));
  await chmod(path, 0o755);
  return path;
}

/** A line of such a script that says frames. */
export function say(...frames: SaidFrame[]): string {
  const bytes = [...Buffer.concat(frames.map(frameBytes))];
  return `printf '${bytes.map((byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("")}'`;
}
