/** Faults of the board itself, handed to preload/ in shared memory: preload.h has the same struct. */
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";

/** The faults of the board during one life of the agent. */
export interface LifeFaults {
  /** The power fails at this change of the medium, counted from 1. */
  readonly cutAt?: number;
  /** The power fails at this write to the disk image, counted from 1. */
  readonly cutAtDiskWrite?: number;
  /** The agent alone is killed at this write to the disk image, counted from 1. */
  readonly killAgentAtWrite?: number;
  /** How long each write of the fwup takes that a killed agent leaves behind. */
  readonly slowWritesMs?: number;
  /** Bytes that are still free beside the disk image. */
  readonly roomBytes?: number;
  /** Only the disk image can be written. */
  readonly readOnly?: boolean;
  /** The write of the disk image that fails with EIO, counted from 1, and whether those after it do too. */
  readonly diskError?: { readonly at: number; readonly forEver: boolean };
  /** How many look-ups of names fail first. */
  readonly dnsFailures?: number;
}

const WORD_BYTES = 8;
/** The 32-bit words of struct state in preload.h. */
const WORD = {
  changes: 0,
  cutAt: 1,
  isCut: 2,
  room: 3,
  readOnly: 4,
  errorAt: 5,
  errorStays: 6,
  dnsFailures: 8,
  cutAtDiskWrite: 9,
  killAgentAtWrite: 10,
  slowWritesMs: 11,
  aheadS: 12,
  agent: 13,
  logBytes: 14,
  isChanging: 15,
};
/** Room for the struct, its lock included. */
const STATE_BYTES = 4096;

/**
 * The state that the processes of a life share, in a file.
 * @param aheadS how far the board's clock is ahead of this machine's
 */
export function writeLifeFaults(path: string, faults: LifeFaults, aheadS = 0): void {
  const state = Buffer.alloc(STATE_BYTES);
  const set = (word: number, value: number): void => {
    state.writeBigInt64LE(BigInt(value), word * WORD_BYTES);
  };
  set(WORD.cutAt, faults.cutAt ?? 0);
  set(WORD.cutAtDiskWrite, faults.cutAtDiskWrite ?? 0);
  set(WORD.killAgentAtWrite, faults.killAgentAtWrite ?? 0);
  set(WORD.slowWritesMs, faults.slowWritesMs ?? 0);
  set(WORD.aheadS, Math.round(aheadS));
  set(WORD.room, faults.roomBytes ?? -1);
  set(WORD.readOnly, faults.readOnly === true ? 1 : 0);
  set(WORD.errorAt, faults.diskError?.at ?? 0);
  set(WORD.errorStays, faults.diskError?.forEver === true ? 1 : 0);
  set(WORD.dnsFailures, faults.dnsFailures ?? 0);
  writeFileSync(path, state);
}

/** The state of a life so far. */
export interface LifeState {
  readonly changes: number;
  readonly isCut: boolean;
  /** The agent's process id; 0 before it has started. */
  readonly agent: number;
  /** Length of the log up to the end of its last whole record. */
  readonly logBytes: number;
  /** A change has begun and is not over: the process that makes it is at it, or was killed. */
  readonly isChanging: boolean;
}

export function readLifeState(path: string): LifeState {
  const state = readFileSync(path);
  const word = (index: number): number => Number(state.readBigUInt64LE(index * WORD_BYTES));
  return {
    changes: word(WORD.changes),
    isCut: word(WORD.isCut) === 1,
    agent: word(WORD.agent),
    logBytes: word(WORD.logBytes),
    isChanging: word(WORD.isChanging) === 1,
  };
}

/** Makes each process of the life end before its next change. */
export function markCut(path: string): void {
  setWord(path, WORD.isCut, 1n);
}

/** Makes the next process of the life the agent. */
export function forgetAgent(path: string): void {
  setWord(path, WORD.agent, 0n);
}

function setWord(path: string, word: number, value: bigint): void {
  const file = openSync(path, "r+");
  const bytes = Buffer.alloc(WORD_BYTES);
  bytes.writeBigUInt64LE(value);
  writeSync(file, bytes, 0, bytes.length, word * WORD_BYTES);
  closeSync(file);
}
