/**
 * Collects garbage before it makes the process large. V8 frees network buffers, which are outside its heap, in its
 * full collections, and starts those only after tens of MiB of them: an agent that had 15 MiB in use grew from 63 to
 * 107 MiB in a busy hour, and malloc does not give back what lies between other blocks.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Cancel, Clock } from "./clock.ts";

const MIB = 1024 * 1024;
const PERIOD_MS = 10_000;
/** Garbage that is worth a collection: a full one takes 10 ms on a PC, and ten times as long on a Pi Zero. */
const GROWTH_BYTES = 4 * MIB;

export interface GarbageOptions {
  readonly clock: Clock;
  /** Bytes in use, garbage among them. */
  readonly usedBytes: () => number;
  readonly collect: () => void;
}

/** Collects whenever what is in use has grown by 4 MiB since it was smallest. */
export class Garbage {
  readonly #options: GarbageOptions;
  #leastBytes = Infinity;
  #cancel: Cancel = () => undefined;

  constructor(options: GarbageOptions) {
    this.#options = options;
  }

  start(): void {
    this.#look();
    this.#cancel = this.#options.clock.after(PERIOD_MS, () => this.start());
  }

  stop(): void {
    this.#cancel();
  }

  #look(): void {
    const { usedBytes, collect } = this.#options;
    const bytes = usedBytes();
    this.#leastBytes = Math.min(this.#leastBytes, bytes);
    if (bytes < this.#leastBytes + GROWTH_BYTES) return;
    collect();
    this.#leastBytes = usedBytes(); // what is left is needed, also where it is more than before
  }
}

/** What V8 knows of: its heap, and the buffers outside of it. */
export function usedBytes(): number {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

let collect: (() => void) | undefined;

/**
 * Runs V8's own full collection. V8 gives that function to programs that are started with a flag; set later, the flag
 * counts for the contexts made after it. The context costs 0.4 MiB, so it is made when it is needed.
 */
export function collectGarbage(): void {
  collect ??= exposed();
  collect();
}

function exposed(): () => void {
  setFlagsFromString("--expose-gc");
  const gc = runInNewContext("gc") as () => void;
  setFlagsFromString("--no-expose-gc");
  return gc;
}
