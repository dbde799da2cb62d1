/**
 * The memory of a process, native or emulated. An emulated program shares its process with qemu; only the addresses
 * distinguish the memory of the two.
 */
import { readFile } from "node:fs/promises";

/** The address range of an emulated program, far from qemu's own memory. */
const GUEST_BEGIN = 0x3000_0000_0000n;
const GUEST_BYTES = 0x100_0000_0000n;

/** The memory of a process, in MiB. */
export interface Resident {
  /** Anonymous memory, which the kernel cannot drop. */
  readonly anonymousMib: number;
  /** Including pages of files, which the kernel may drop and read again. */
  readonly wholeMib: number;
}

/** Adds the options that keep a program's memory apart from qemu's own. */
export function apart(starter: readonly string[]): readonly string[] {
  if (starter.length === 0) return [];
  const reserved = starter[0] === "qemu-aarch64-static" ? ["-R", `0x${GUEST_BYTES.toString(16)}`] : [];
  return [...starter, ...reserved, "-B", `0x${GUEST_BEGIN.toString(16)}`];
}

/** Sums up smaps (proc(5)). If `emulated`, only the ranges of the program itself count; it must run with {@link apart}. */
export async function residentOf(pid: number, emulated: boolean): Promise<Resident> {
  const smaps = await readFile(`/proc/${pid}/smaps`, "utf8");
  let counts = true;
  let anonymousKib = 0;
  let wholeKib = 0;
  for (const line of smaps.split("\n")) {
    const begin = /^([0-9a-f]+)-[0-9a-f]+ /.exec(line)?.[1];
    if (begin !== undefined) counts = !emulated || isGuests(BigInt(`0x${begin}`));
    const [, field, kib] = /^(Rss|Anonymous):\s+(\d+) kB$/.exec(line) ?? [];
    if (!counts || kib === undefined) continue;
    if (field === "Rss") wholeKib += Number(kib);
    else anonymousKib += Number(kib);
  }
  return { anonymousMib: anonymousKib / 1024, wholeMib: wholeKib / 1024 };
}

function isGuests(address: bigint): boolean {
  return address >= GUEST_BEGIN && address < GUEST_BEGIN + GUEST_BYTES;
}
