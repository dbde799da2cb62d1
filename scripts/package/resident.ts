import { readFile } from "node:fs/promises";

/** Where an emulated program's memory begins, far from qemu's own, and how far it can reach. */
const GUEST_BEGIN = 0x3000_0000_0000n;
const GUEST_BYTES = 0x100_0000_0000n;

/** What a process keeps in memory, in MiB. */
export interface Resident {
  /** Its own: nothing can take it away. */
  readonly anonymousMib: number;
  /** With the pages of files, which the kernel may drop and read again. */
  readonly wholeMib: number;
}

/** The words that start a program under qemu-user so that its memory can be told from qemu's. */
export function apart(starter: readonly string[]): readonly string[] {
  if (starter.length === 0) return [];
  const reserved = starter[0] === "qemu-aarch64-static" ? ["-R", `0x${GUEST_BYTES.toString(16)}`] : [];
  return [...starter, ...reserved, "-B", `0x${GUEST_BEGIN.toString(16)}`];
}

/** Sums up smaps (proc(5)); of a program that was started apart, the guest's own ranges only. */
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
