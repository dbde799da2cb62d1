/**
 * The other processes of this machine, as /proc shows them. Rule: nothing here can block or fail. A process may end
 * between two looks, an ordinary user may not look into another's, and a file on a dead network share must not be
 * asked about; what can't be seen is left out.
 */
import { readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { systemCode } from "./failure.ts";

/** A process that has not ended. */
export interface Process {
  readonly pid: number;
  /** Its name, as `ps` shows it. */
  readonly name: string;
  /** Its process group. */
  readonly group: number;
  /** When it started, in the kernel's ticks since boot. With the pid it names the process for ever. */
  readonly start: string;
}

/** The processes of this machine without the kernel's own; the event loop runs on between two of them. */
export async function* processes(): AsyncGenerator<Process> {
  for (const entry of list("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const found = processOf(Number(entry));
    if (found !== undefined) yield found;
    await setImmediate();
  }
}

const KTHREADD = 2;

/** The process of that number; undefined when there is none, or it has ended and waits for its parent only. */
export function processOf(pid: number): Process | undefined {
  const text = read(`/proc/${pid}/stat`);
  // The name stands in parentheses and may hold some itself.
  const [open, close] = [text.indexOf("("), text.lastIndexOf(")")];
  const [state = "", parent = "", group = "", ...rest] = text.slice(close + 2).split(" ");
  const [threads, start] = [Number(rest[14]), rest[16]];
  // One whose first thread has ended may still write with another.
  if (start === undefined || ((state === "Z" || state === "X") && threads <= 1)) return undefined;
  if (pid === KTHREADD || Number(parent) === KTHREADD) return undefined;
  return { pid, name: text.slice(open + 1, close), group: Number(group), start };
}

/** Its arguments, the program's name first. */
export function argumentsOf(pid: number): string[] {
  return read(`/proc/${pid}/cmdline`).split("\0").slice(0, -1);
}

/** The value that a variable had when it was started; undefined also when this user may not know. */
export function variableOf(pid: number, name: string): string | undefined {
  const prefix = `${name}=`;
  return read(`/proc/${pid}/environ`)
    .split("\0")
    .find((line) => line.startsWith(prefix))
    ?.slice(prefix.length);
}

/** One of a process's open files. */
export interface OpenFile {
  /** The path it was opened by. */
  readonly path: string;
  /** The same file under /proc, which leads to it even when the path does not any more. */
  readonly link: string;
  /** The kernel's notes on it (proc(5), /proc/PID/fdinfo). */
  readonly notes: () => string;
}

/** The files, devices and folders it holds open. */
export function openFilesOf(pid: number): OpenFile[] {
  return list(`/proc/${pid}/fd`).flatMap((number) => {
    const link = `/proc/${pid}/fd/${number}`;
    const path = linkTarget(link);
    if (!path.startsWith("/")) return []; // a pipe, a socket
    return [{ path, link, notes: () => read(`/proc/${pid}/fdinfo/${number}`) }];
  });
}

/** Which other process holds a flock(2) on a path; undefined when that can't be seen. */
export async function lockHolder(path: string): Promise<Process | undefined> {
  const real = realpathSync(path);
  for await (const candidate of processes()) {
    if (candidate.pid === process.pid) continue;
    const holds = openFilesOf(candidate.pid).some(
      (file) => file.path === real && /^lock:.*FLOCK/m.test(file.notes()),
    );
    if (holds) return candidate;
  }
  return undefined;
}

/** " (pid 123)", or nothing when it is not known. */
export function pidWords(known: Process | undefined): string {
  return known === undefined ? "" : ` (pid ${known.pid})`;
}

function list(folder: string): string[] {
  return unlessRefused(() => readdirSync(folder), []);
}

function read(path: string): string {
  return unlessRefused(() => readFileSync(path, "utf8"), "");
}

function linkTarget(path: string): string {
  return unlessRefused(() => readlinkSync(path), "");
}

function unlessRefused<T>(look: () => T, otherwise: T): T {
  try {
    return look();
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return otherwise;
  }
}
