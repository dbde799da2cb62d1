/**
 * Files that the hub sends to the board in pieces. Each is written under a reserved name, synced, and renamed
 * when it is complete: a power cut or a lost connection leaves no half file under the name that people use. Names
 * and sizes come from the network, so a name never leads out of the folder, and memory and disk are bounded. The
 * console's user may own the folder and put links there, so root goes by what it has open, not by paths.
 */
import { randomBytes } from "node:crypto";
import { EventEmitter } from "node:events";
import { constants, mkdir, open, readdir, readlink, rename, rm, type FileHandle } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { Cancel, Clock } from "../platform/clock.ts";
import { Failure, messageOf, systemCode } from "../platform/failure.ts";
import { pathOf } from "../platform/files.ts";
import { printable } from "../platform/text.ts";
import type { Account } from "./account.ts";

export interface ReceivedFilesOptions {
  readonly dir: string;
  readonly maxBytes: number;
  /** The user who is to own the files; the agent's own user when undefined. */
  readonly owner: () => Account | undefined;
  readonly clock: Clock;
}

interface ReceivedFilesEvents {
  /** A file is complete, or can't be received: one printable line for the person who sends it. */
  notice: [text: string];
}

interface Transfer {
  readonly name: string;
  /** The steps of this file, one after the other. */
  work: Promise<void>;
  failed: boolean;
  folder: FileHandle | undefined;
  file: FileHandle | undefined;
  /** Its present name in the folder. */
  readonly partName: string;
  sizeBytes: number;
  unwrittenBytes: number;
  lastNumber: number;
  cancelTimeout: Cancel;
}

/** Unfinished files are in the same folder, hidden, under a reserved prefix. */
const PART_PREFIX = ".hublink-part-";
const MAX_TRANSFERS = 4;
/** A transfer fails when the disk falls this far behind the line, because the hub can't be slowed down. */
const MAX_UNWRITTEN_BYTES = 8 * 1024 * 1024;
/** After this time without a piece the sender is taken to be gone. */
const PIECE_TIMEOUT_MS = 60_000;
const MAX_NAME_BYTES = 255;

export class ReceivedFiles extends EventEmitter<ReceivedFilesEvents> {
  readonly #options: ReceivedFilesOptions;
  readonly #transfers = new Map<string, Transfer>();
  /** Work on files that no longer belong to a transfer: renaming a complete one, removing a failed one. */
  readonly #finishing = new Set<Promise<void>>();
  #prepared: Promise<void> | undefined;

  constructor(options: ReceivedFilesOptions) {
    super();
    this.#options = options;
  }

  begin(name: string): void {
    const problem =
      nameProblem(name) ?? (this.#transfers.size >= MAX_TRANSFERS ? "too many at once" : undefined);
    if (problem !== undefined) {
      this.#notice(`${name.slice(0, MAX_NAME_BYTES)} is not received: ${problem}`);
      return;
    }
    const previous = this.#transfers.get(name);
    if (previous !== undefined) this.#fail(previous, "it was sent anew");
    const transfer: Transfer = {
      name,
      work: (this.#prepared ??= this.#removeParts().catch(() => undefined)), // opening the file reports the error
      failed: false,
      folder: undefined,
      file: undefined,
      partName: `${PART_PREFIX}${randomBytes(8).toString("hex")}`,
      sizeBytes: 0,
      unwrittenBytes: 0,
      lastNumber: -1,
      cancelTimeout: () => undefined,
    };
    this.#transfers.set(name, transfer);
    this.#restartTimeout(transfer);
    this.#addStep(transfer, async () => {
      transfer.folder = await this.#openFolder();
      transfer.file = await open(join(pathOf(transfer.folder), transfer.partName), "wx", 0o600);
    });
  }

  /** @param number of the piece: one more than the last, or 0 */
  add(name: string, number: number, piece: Uint8Array): void {
    const transfer = this.#transfers.get(name);
    if (transfer === undefined) return; // refused or failed, and reported
    const { dir, maxBytes } = this.#options;
    this.#restartTimeout(transfer);
    // The hub's page numbers the pieces of each block that the browser reads from 0 (seen in its console.js).
    if (number !== transfer.lastNumber + 1 && number !== 0) {
      this.#fail(transfer, `piece ${number} came after ${transfer.lastNumber}; send it again`);
      return;
    }
    transfer.lastNumber = number;
    transfer.sizeBytes += piece.length;
    if (transfer.sizeBytes > maxBytes) {
      this.#fail(transfer, `it is larger than console.max_upload_mib allows (${maxBytes} bytes)`);
      return;
    }
    transfer.unwrittenBytes += piece.length;
    if (transfer.unwrittenBytes > MAX_UNWRITTEN_BYTES) {
      this.#fail(transfer, `${dir} takes it too slowly`);
      return;
    }
    this.#addStep(transfer, async () => {
      await transfer.file?.writeFile(piece);
      transfer.unwrittenBytes -= piece.length;
    });
  }

  complete(name: string): void {
    const transfer = this.#transfers.get(name);
    if (transfer === undefined) return;
    this.#transfers.delete(name);
    transfer.cancelTimeout();
    this.#addStep(transfer, async () => this.#moveIntoPlace(transfer));
    this.#finish(transfer.work);
  }

  /** Drops all unfinished files. */
  abort(reason: string): void {
    for (const transfer of this.#transfers.values()) this.#fail(transfer, reason);
  }

  /** Resolves when nothing more is written. */
  async settled(): Promise<void> {
    while (this.#finishing.size > 0) await Promise.all(this.#finishing);
  }

  async #moveIntoPlace({ folder, file, partName, name, sizeBytes }: Transfer): Promise<void> {
    if (folder === undefined || file === undefined) return;
    const owner = this.#options.owner();
    if (owner !== undefined) await file.chown(owner.uid, owner.gid);
    await file.sync();
    await file.close();
    await rename(join(pathOf(folder), partName), join(pathOf(folder), name));
    await folder.sync();
    await folder.close();
    this.#notice(`received ${name}, ${sizeBytes} bytes, in ${this.#options.dir}`);
  }

  async #openFolder(): Promise<FileHandle> {
    return await openFolder(resolve(this.#options.dir), this.#options.owner() !== undefined);
  }

  /** Removes the unfinished files that a power cut has left in the folder. */
  async #removeParts(): Promise<void> {
    const folder = await this.#openFolder();
    try {
      const names = await readdir(pathOf(folder));
      const parts = names.filter((name) => name.startsWith(PART_PREFIX));
      await Promise.all(parts.map(async (name) => rm(join(pathOf(folder), name), { force: true })));
    } finally {
      await folder.close();
    }
  }

  /** Adds a step; the first that throws ends the transfer. */
  #addStep(transfer: Transfer, step: () => Promise<void>): void {
    transfer.work = transfer.work.then(async () => {
      if (transfer.failed) return;
      try {
        await step();
      } catch (error) {
        this.#fail(transfer, diskProblem(error, this.#options.dir));
      }
    });
  }

  #fail(transfer: Transfer, reason: string): void {
    if (transfer.failed) return;
    const { name } = transfer;
    transfer.failed = true;
    transfer.cancelTimeout();
    if (this.#transfers.get(name) === transfer) this.#transfers.delete(name);
    this.#notice(`${name} is not received: ${reason}`);
    this.#finish(transfer.work.then(async () => discard(transfer)));
  }

  /** Names come from the network, and the notice is shown on a terminal. */
  #notice(text: string): void {
    this.emit("notice", printable(text));
  }

  #finish(work: Promise<void>): void {
    const done = work.catch((error: unknown) => this.#notice(messageOf(error)));
    this.#finishing.add(done);
    void done.then(() => this.#finishing.delete(done));
  }

  #restartTimeout(transfer: Transfer): void {
    transfer.cancelTimeout();
    transfer.cancelTimeout = this.#options.clock.after(PIECE_TIMEOUT_MS, () =>
      this.#fail(transfer, "the rest of it never came"),
    );
  }
}

/**
 * Opens a folder, and makes it when it is missing.
 * @param direct refuses a path with symbolic links: where the console's user can make one, it leads root to another
 *   folder, such as /etc. The kernel says which folder was opened, so that a link that comes and goes is found too.
 */
async function openFolder(path: string, direct: boolean): Promise<FileHandle> {
  const folder = await openOrMake(path, direct);
  const real = direct ? await readlink(pathOf(folder)) : path;
  if (real === path) return folder;
  await folder.close();
  throw new Failure(
    "config",
    `console.upload_dir: ${path} leads to ${real} by a symbolic link, which console.user does not allow; name the folder itself`,
  );
}

async function openOrMake(path: string, direct: boolean): Promise<FileHandle> {
  const flags = constants.O_RDONLY | constants.O_DIRECTORY;
  try {
    return await open(path, flags);
  } catch (error) {
    if (systemCode(error) !== "ENOENT" || dirname(path) === path) throw error;
  }
  const parent = await openFolder(dirname(path), direct);
  try {
    await mkdir(join(pathOf(parent), basename(path))).catch((error: unknown) => {
      if (systemCode(error) !== "EEXIST") throw error; // EEXIST: another transfer was quicker
    });
  } finally {
    await parent.close();
  }
  return await open(path, flags);
}

async function discard({ folder, file, partName }: Transfer): Promise<void> {
  await file?.close().catch(() => undefined); // moveIntoPlace may have closed it before it failed
  if (folder === undefined) return;
  await rm(join(pathOf(folder), partName), { force: true });
  await folder.close().catch(() => undefined);
}

/** Why a name from the network can't be the name of a file in the folder. */
function nameProblem(name: string): string | undefined {
  if (name === "" || name === "." || name === ".." || /[/\\\u0000-\u001f\u007f-\u009f]/.test(name)) {
    return "its name is no plain file name";
  }
  if (name.startsWith(PART_PREFIX)) return "its name is one that is used for unfinished files";
  return Buffer.byteLength(name) > MAX_NAME_BYTES ? "its name is too long" : undefined;
}

function diskProblem(error: unknown, dir: string): string {
  if (error instanceof Failure) return error.message;
  switch (systemCode(error)) {
    case "ENOSPC":
    case "EDQUOT":
      return `no space is left in ${dir}`;
    case "EROFS":
      return `${dir} is on a file system that can't be written`;
    case "EACCES":
    case "EPERM":
      return `${dir}: permission denied`;
    case "EISDIR":
      return "there is a folder of that name";
    default:
      return messageOf(error);
  }
}
