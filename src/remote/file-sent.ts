/**
 * Sending a file of the board to the people who have the hub's console open. NervesHub never replies to pieces,
 * so every eighth waits until the hub has read the ones before: sent at full speed, a large file would keep the
 * heartbeats waiting until the link counts as dead.
 */
import type { FileHandle } from "node:fs/promises";
import { basename } from "node:path";
import { Failure } from "../platform/failure.ts";

export interface SendFileOptions {
  readonly path: string;
  /** Opens the file at a path if it is one that the asking program may have. */
  readonly open: (path: string) => Promise<FileHandle>;
  readonly maxBytes: number;
  /** False when the line did not take the message. */
  readonly push: (event: string, payload: unknown) => boolean;
  /** True when the hub has read everything that was pushed before. */
  readonly confirm: (timeoutMs: number) => Promise<boolean>;
  readonly onProgress: (sentBytes: number, sizeBytes: number) => void;
  readonly signal: AbortSignal;
}

/** nerves_hub_link sends 1 KiB; the hub's page accepts any size. */
const PIECE_BYTES = 16 * 1024;
/** Pieces sent and not yet confirmed. */
const WINDOW_PIECES = 8;
const CONFIRM_TIMEOUT_MS = 60_000;

/**
 * Sends a file.
 * @returns its name and size
 * @throws Failure when it can't be read, is too large, or the console is lost; the signal's reason
 */
export async function sendFile(options: SendFileOptions): Promise<{ name: string; sizeBytes: number }> {
  const { path } = options;
  const file = await options.open(path);
  try {
    const stats = await file.stat();
    if (stats.size > options.maxBytes) {
      throw new Failure("usage", `file ${path} is larger than console.max_upload_mib allows; raise it`);
    }
    return { name: basename(path), sizeBytes: await sendContent(file, stats.size, options) };
  } finally {
    await file.close();
  }
}

async function sendContent(file: FileHandle, sizeBytes: number, options: SendFileOptions): Promise<number> {
  const filename = basename(options.path);
  const push = (event: string, payload: object): void => {
    options.signal.throwIfAborted();
    if (!options.push(event, { filename, ...payload })) throw consoleLost();
  };
  const confirm = async (): Promise<void> => {
    if (!(await options.confirm(CONFIRM_TIMEOUT_MS))) throw consoleLost();
  };
  push("file-data/start", {});
  const piece = Buffer.alloc(PIECE_BYTES);
  let sentBytes = 0;
  // The size is the one at the start: a log that grows would never end.
  for (let chunk = 0; sentBytes < sizeBytes; chunk += 1) {
    const { bytesRead } = await file.read(piece, 0, Math.min(PIECE_BYTES, sizeBytes - sentBytes), sentBytes);
    if (bytesRead === 0) break;
    push("file-data", { chunk, data: piece.toString("base64", 0, bytesRead) });
    sentBytes += bytesRead;
    options.onProgress(sentBytes, sizeBytes);
    if (chunk % WINDOW_PIECES === WINDOW_PIECES - 1) await confirm();
  }
  push("file-data/stop", {});
  await confirm();
  return sentBytes;
}

function consoleLost(): Failure {
  return new Failure("not_connected", "the hub's console was lost; send it again when the board has joined");
}
