/**
 * Which bytes of a file are there. A part is filled from its start on, so one number per part says it all,
 * and several connections can fill several parts at once.
 */
import { PART_BYTES } from "./verify.ts";

/** A stretch of the file: from `offset` to before `end`. */
export interface Stretch {
  readonly offset: number;
  readonly end: number;
}

/** The position of a part's first byte. */
export function startOf(part: number): number {
  return part * PART_BYTES;
}

/** The part that a position is in. */
export function partOf(offset: number): number {
  return Math.floor(offset / PART_BYTES);
}

export class Coverage {
  readonly #sizeBytes: number;
  /** How many bytes of each part are there. */
  readonly #have: number[];

  constructor(sizeBytes: number) {
    this.#sizeBytes = sizeBytes;
    this.#have = new Array<number>(Math.ceil(sizeBytes / PART_BYTES)).fill(0);
  }

  /** The number of parts. */
  get count(): number {
    return this.#have.length;
  }

  /** How many bytes are there in all. */
  get bytes(): number {
    return this.#have.reduce((sum, bytes) => sum + bytes, 0);
  }

  /** How many bytes are there from the file's start up to the first gap. */
  get firstBytes(): number {
    return this.gap({ offset: 0, end: this.#sizeBytes })?.offset ?? this.#sizeBytes;
  }

  /** The first stretch within `within` that is missing. */
  gap({ offset, end }: Stretch): Stretch | undefined {
    for (let part = partOf(offset); startOf(part) < end; part += 1) {
      if (this.isComplete(part)) continue;
      let next = part + 1;
      while (startOf(next) < end && this.#have[next] === 0) next += 1;
      return { offset: this.endOf(part), end: Math.min(startOf(next), end) };
    }
    return undefined;
  }

  /** How many bytes of a part are there. */
  has(part: number): number {
    return this.#have[part] ?? 0;
  }

  set(part: number, bytes: number): void {
    this.#have[part] = bytes;
  }

  /** How many bytes a part has when it is complete. */
  lengthOf(part: number): number {
    return Math.min(PART_BYTES, this.#sizeBytes - startOf(part));
  }

  /** The position after the bytes of a part that are there. */
  endOf(part: number): number {
    return startOf(part) + this.has(part);
  }

  isComplete(part: number): boolean {
    return this.#have[part] === this.lengthOf(part);
  }
}
