/**
 * Files in memory, for secrets that a helper program (stunnel, pkcs11-tool) must read from a file: a PIN that
 * was written to flash could be read there for years.
 */
import { randomUUID } from "node:crypto";
import { closeSync, openSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { Failure, messageOf } from "./failure.ts";

/** Where Linux has file systems in memory. */
const FOLDERS = ["/dev/shm", "/run"];

/**
 * Opens a file in memory that holds `content` and has no name: only a process that inherits the descriptor
 * can read it, from the descriptor (which stands at the start) or as `/dev/fd/N`. The name is removed before
 * anything is written.
 * @returns its descriptor, to be closed by the caller
 * @throws Failure `io` when it can be made in none of the folders; the file system's error
 */
export function openMemoryFile(content: string): number {
  const file = openNameless();
  try {
    const bytes = Buffer.from(content);
    for (let at = 0; at < bytes.length;) at += writeSync(file, bytes, at, bytes.length - at, at);
    return file;
  } catch (error) {
    closeSync(file);
    throw error;
  }
}

function openNameless(): number {
  const problems: string[] = [];
  for (const folder of FOLDERS) {
    const path = join(folder, `.hublink-${randomUUID()}`);
    try {
      const file = openSync(path, "wx+", 0o600);
      unlinkSync(path);
      return file;
    } catch (error) {
      problems.push(messageOf(error)); // missing or read-only: the next one
    }
  }
  throw new Failure(
    "io",
    `no memory file: ${problems.join("; ")}; mount a tmpfs on one of ${FOLDERS.join(", ")}`,
  );
}
