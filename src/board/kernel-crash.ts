/**
 * Why the board was reset, where the kernel or a watchdog can tell: what the kernel kept of its last words
 * (Documentation/admin-guide/ramoops.rst: files of pstore), and the watchdogs' own flag. Rule: nothing is removed, since
 * others may want to read it.
 */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Frame } from "../platform/defects.ts";
import { readIfThere } from "../platform/files.ts";
import type { World } from "../platform/world.ts";
import { CARD_RESET } from "./kernel-watchdog.ts";

/** What the kernel kept of a panic or an oops. */
export interface KernelCrash {
  /** Tells it from other records, also after the next boot. */
  readonly id: string;
  readonly kind: "panic" | "oops";
  /** One line, such as `Kernel panic - not syncing: Fatal exception`. */
  readonly reason: string;
  /** The end of the kernel's log. */
  readonly message: string;
  /** The innermost first. */
  readonly frames: readonly Frame[];
  /** When the kernel wrote it, wall clock; it may not have known the time. */
  readonly atMs: number;
}

const MAX_RECORDS = 4;
const MAX_MESSAGE = 8000;

/** The newest records of pstore, the oldest of them first; none without pstore. */
export async function kernelCrashes({ root }: World): Promise<KernelCrash[]> {
  const folder = join(root, "sys/fs/pstore");
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.startsWith("dmesg-"));
  const crashes = await Promise.all(names.map(async (name) => readRecord(join(folder, name), name)));
  return crashes
    .filter((crash) => crash !== undefined)
    .toSorted((one, other) => one.atMs - other.atMs)
    .slice(-MAX_RECORDS);
}

async function readRecord(path: string, name: string): Promise<KernelCrash | undefined> {
  const text = await readIfThere(path);
  const stats = await stat(path).catch(() => undefined);
  if (text === undefined || stats === undefined) return undefined;
  // `Panic#2 Part1`: the first part is the end of the log, and says why.
  const [, word = "", part = "1"] = /^(\w+)#\d+ Part(\d+)$/m.exec(text.slice(0, 200)) ?? [];
  if (part !== "1") return undefined;
  const lines = text.split("\n").map((line) => line.replace(/^<\d+>/, "").replace(/^\[ *[\d.]+\] ?/, ""));
  const panic = lines.find((line) => line.startsWith("Kernel panic"));
  const oops = lines.find((line) => /^(?:Internal error|Unable to handle kernel|BUG:)/.test(line));
  const reason = oops ?? panic;
  if (reason === undefined) return undefined;
  return {
    id: `${name} ${stats.mtimeMs} ${stats.size}`,
    kind: panic !== undefined || word === "Panic" ? "panic" : "oops",
    reason,
    message: lines.join("\n").trim().slice(-MAX_MESSAGE),
    frames: lines.flatMap(frameOf),
    atMs: stats.mtimeMs,
  };
}

/** `[<c0108b8c>] (panic) from [<c0108a>]` of 32-bit ARM, ` panic+0x120/0x3a0 [module]` of the others. */
function frameOf(line: string): Frame[] {
  const at = /^(?:PC is at|pc :) (\w[\w.]*)\+0x[0-9a-f]+\/0x[0-9a-f]+(?: \[(\w+)\])?/.exec(line);
  const arm =
    /\((\w[\w.]*)(?: \[(\w+)\])?\) from /.exec(line) ?? /^ (\w[\w.]*)(?: \[(\w+)\])? from \w/.exec(line);
  const other = /^ *(?:\[<[^>]*>\] *)?(\w[\w.]*)\+0x[0-9a-f]+\/0x[0-9a-f]+(?: \[(\w+)\])?/.exec(line);
  const [, name, module = "kernel"] = at ?? arm ?? other ?? [];
  return name === undefined ? [] : [{ module, function: name }];
}

/** The names of the watchdogs that say that they have reset the board. */
export async function watchdogResets({ root }: World): Promise<string[]> {
  const folder = join(root, "sys/class/watchdog");
  const names = await readdir(folder).catch(() => []);
  const resets = await Promise.all(
    names.toSorted().map(async (name) => {
      const flags = Number((await readIfThere(join(folder, name, "bootstatus")))?.trim());
      if ((flags & CARD_RESET) === 0) return [];
      return [(await readIfThere(join(folder, name, "identity")))?.trim() ?? name];
    }),
  );
  return resets.flat();
}
