import { randomBytes } from "node:crypto";
import { chown, mkdir, open, readdir, rename, rm, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { syncPath } from "../platform/files.ts";
import type { Cancel, Clock } from "../platform/clock.ts";
import { Failure, messageOf, systemCode } from "../platform/failure.ts";
import type { Account } from "./account.ts";

export interface ReceivedFilesOptions {
  readonly dir: string;
  readonly maxBytes: number;
  /** Whose the files are to be; the agent's own user's when undefined. */
  readonly owner: () => Account | undefined;
  /** Tells whoever sends it what has become of a file. */
  readonly tell: (text: string) => void;
  readonly clock: Clock;
}

/** Files that come in pieces over the hub, each written beside and renamed when it is complete. */
export interface ReceivedFiles {
  begin(name: string): void;
  /** @param number of the piece: one more than the last, or 0 */
  add(name: string, number: number, piece: Uint8Array): void;
  complete(name: string): void;
  /** Nothing more comes of those that have begun. */
  abort(reason: string): void;
  /** Resolves when nothing is written any more. */
  settled(): Promise<void>;
}

interface Transfer {
  /** All that is done to the file, one after the other. */
  work: Promise<void>;
  failed: boolean;
  file: FileHandle | undefined;
  readonly path: string;
  sizeBytes: number;
  unwrittenBytes: number;
  lastNumber: number;
  cancelSilence: Cancel;
}

/** Beside the files: dotted, and of a name that is no one's file. */
const PART_PREFIX = ".hublink-part-";
const MAX_TRANSFERS = 4;
/** A disk so much slower than the line is given up on; what comes can't be held back. */
const MAX_UNWRITTEN_BYTES = 8 * 1024 * 1024;
/** Whoever sends has gone away. */
const SILENCE_MS = 60_000;
const MAX_NAME_BYTES = 255;

export function createReceivedFiles(options: ReceivedFilesOptions): ReceivedFiles {
  const { dir, maxBytes, tell, clock } = options;
  const transfers = new Map<string, Transfer>();
  const leftovers = new Set<Promise<void>>();
  let cleaned: Promise<void> | undefined;

  const fail = (name: string, transfer: Transfer, reason: string): void => {
    if (transfer.failed) return;
    transfer.failed = true;
    transfer.cancelSilence();
    if (transfers.get(name) === transfer) transfers.delete(name);
    tell(`${name} is not received: ${reason}`);
    finish(transfer.work.then(async () => discard(transfer)));
  };
  const finish = (work: Promise<void>): void => {
    const done = work.catch((error: unknown) => tell(messageOf(error)));
    leftovers.add(done);
    void done.then(() => leftovers.delete(done));
  };
  /** Adds a step; the first that fails ends the transfer. */
  const next = (name: string, transfer: Transfer, step: () => Promise<void>): void => {
    transfer.work = transfer.work.then(async () => {
      if (transfer.failed) return;
      try {
        await step();
      } catch (error) {
        fail(name, transfer, diskProblem(error, dir));
      }
    });
  };
  const listen = (name: string, transfer: Transfer): void => {
    transfer.cancelSilence();
    transfer.cancelSilence = clock.after(SILENCE_MS, () => fail(name, transfer, "the rest of it never came"));
  };

  const prepare = async (): Promise<void> => {
    await mkdir(dir, { recursive: true });
    // What a power cut has left.
    const names = await readdir(dir);
    const parts = names.filter((name) => name.startsWith(PART_PREFIX));
    await Promise.all(parts.map(async (name) => rm(join(dir, name), { force: true })));
  };

  return {
    begin(name) {
      const refusal = nameProblem(name) ?? (transfers.size >= MAX_TRANSFERS && "too many at once");
      const printable = printableName(name);
      if (refusal !== false) {
        tell(`${printable} is not received: ${refusal}`);
        return;
      }
      const previous = transfers.get(name);
      if (previous !== undefined) fail(name, previous, "it was sent anew");
      const transfer: Transfer = {
        work: (cleaned ??= prepare().catch(() => undefined)), // opening the file tells what is wrong
        failed: false,
        file: undefined,
        path: join(dir, `${PART_PREFIX}${randomBytes(8).toString("hex")}`),
        sizeBytes: 0,
        unwrittenBytes: 0,
        lastNumber: -1,
        cancelSilence: () => undefined,
      };
      transfers.set(name, transfer);
      listen(name, transfer);
      next(name, transfer, async () => {
        await mkdir(dir, { recursive: true });
        transfer.file = await open(transfer.path, "wx", 0o600);
      });
    },
    add(name, number, piece) {
      const transfer = transfers.get(name);
      if (transfer === undefined) return; // refused, or failed: that was told
      listen(name, transfer);
      // The hub's page counts each block that the browser reads anew, from 0 (seen in its console.js).
      if (number !== transfer.lastNumber + 1 && number !== 0) {
        fail(name, transfer, `piece ${number} came after ${transfer.lastNumber}; send it again`);
        return;
      }
      transfer.lastNumber = number;
      transfer.sizeBytes += piece.length;
      if (transfer.sizeBytes > maxBytes) {
        fail(name, transfer, `it is larger than console.max_upload_mib allows (${maxBytes} bytes)`);
        return;
      }
      transfer.unwrittenBytes += piece.length;
      if (transfer.unwrittenBytes > MAX_UNWRITTEN_BYTES) {
        fail(name, transfer, `${dir} takes it too slowly`);
        return;
      }
      next(name, transfer, async () => {
        await transfer.file?.writeFile(piece);
        transfer.unwrittenBytes -= piece.length;
      });
    },
    complete(name) {
      const transfer = transfers.get(name);
      if (transfer === undefined) return;
      transfers.delete(name);
      transfer.cancelSilence();
      next(name, transfer, async () => {
        const { file } = transfer;
        if (file === undefined) return;
        const owner = options.owner();
        if (owner !== undefined) await chown(transfer.path, owner.uid, owner.gid);
        await file.sync();
        await file.close();
        await rename(transfer.path, join(dir, name));
        await syncPath(dir);
        tell(`received ${name}, ${transfer.sizeBytes} bytes, in ${dir}`);
      });
      finish(transfer.work);
    },
    abort(reason) {
      for (const [name, transfer] of transfers) fail(name, transfer, reason);
    },
    async settled() {
      while (leftovers.size > 0) await Promise.all(leftovers);
    },
  };
}

async function discard({ file, path }: Transfer): Promise<void> {
  await file?.close().catch(() => undefined); // it was closed before what failed
  await rm(path, { force: true });
}

/** Why a name from the network can't be a file's in our folder. */
function nameProblem(name: string): string | undefined {
  if (name === "" || name === "." || name === ".." || /[/\\\u0000-\u001f\u007f-\u009f]/.test(name)) {
    return "its name is no plain file name";
  }
  if (name.startsWith(PART_PREFIX)) return "its name is one that is used for unfinished files";
  return Buffer.byteLength(name) > MAX_NAME_BYTES ? "its name is too long" : undefined;
}

/** It is shown on a terminal. */
function printableName(name: string): string {
  return JSON.stringify(name.slice(0, MAX_NAME_BYTES)).slice(1, -1);
}

function diskProblem(error: unknown, dir: string): string {
  if (error instanceof Failure) return error.message;
  switch (systemCode(error)) {
    case "ENOSPC":
    case "EDQUOT":
      return `no space is left in ${dir}`;
    case "EROFS":
      return `${dir} is on a file system that can't be written`;
    case "EISDIR":
      return "there is a folder of that name";
    default:
      return messageOf(error);
  }
}
