import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";

/** What goes wrong with the board itself while an agent lives; see preload/. */
export interface LifeFaults {
  /** The power fails at this change of the medium, counted from 1. */
  readonly cutAt?: number;
  /** So many bytes still fit beside the disk image. */
  readonly roomBytes?: number;
  /** Nothing but the disk image can be written. */
  readonly readOnly?: boolean;
  /** The write of the disk image that fails with EIO, counted from 1, and whether those after it do too. */
  readonly diskError?: { readonly at: number; readonly forEver: boolean };
  /** So many look-ups of names fail first. */
  readonly dnsFailures?: number;
}

const WORD_BYTES = 8;
/** Words of preload.h's struct state. */
const WORD = {
  changes: 0,
  cutAt: 1,
  isCut: 2,
  room: 3,
  readOnly: 4,
  errorAt: 5,
  errorStays: 6,
  dnsFailures: 8,
};
/** Room for the struct, its lock included. */
const STATE_BYTES = 4096;

/** The state that the processes of a life share, as a file. */
export function writeLifeFaults(path: string, faults: LifeFaults): void {
  const state = Buffer.alloc(STATE_BYTES);
  const set = (word: number, value: number): void => {
    state.writeBigInt64LE(BigInt(value), word * WORD_BYTES);
  };
  set(WORD.cutAt, faults.cutAt ?? 0);
  set(WORD.room, faults.roomBytes ?? -1);
  set(WORD.readOnly, faults.readOnly === true ? 1 : 0);
  set(WORD.errorAt, faults.diskError?.at ?? 0);
  set(WORD.errorStays, faults.diskError?.forEver === true ? 1 : 0);
  set(WORD.dnsFailures, faults.dnsFailures ?? 0);
  writeFileSync(path, state);
}

export function readLifeState(path: string): { readonly changes: number; readonly isCut: boolean } {
  const state = readFileSync(path);
  return {
    changes: Number(state.readBigUInt64LE(WORD.changes * WORD_BYTES)),
    isCut: state.readBigUInt64LE(WORD.isCut * WORD_BYTES) === 1n,
  };
}

/** From now on each process of the life ends before its next change. */
export function markCut(path: string): void {
  const file = openSync(path, "r+");
  const yes = Buffer.alloc(WORD_BYTES);
  yes.writeBigUInt64LE(1n);
  writeSync(file, yes, 0, yes.length, WORD.isCut * WORD_BYTES);
  closeSync(file);
}
