/** fwup's progress in percent. */
import type { Output } from "./output.ts";

/** Counts the units written of all that will be, and reports the percentage when it rises. */
export class Progress {
  #totalUnits = 0;
  #doneUnits = 0;
  #lastPercent = -1;
  readonly #output: Output;

  /** Reports 0 at once. */
  constructor(output: Output) {
    this.#output = output;
    this.#tell(0);
  }

  expect(units: number): void {
    this.#totalUnits += units;
  }

  /** Never passes 99: the device is not flushed yet. */
  done(units: number): void {
    this.#doneUnits = Math.min(this.#doneUnits + units, this.#totalUnits);
    if (this.#totalUnits === 0) return;
    this.#tell(Math.min(Math.floor((this.#doneUnits * 100) / this.#totalUnits), 99));
  }

  complete(): void {
    this.#tell(100);
  }

  #tell(percent: number): void {
    if (percent <= this.#lastPercent) return;
    this.#lastPercent = percent;
    this.#output.progress(percent);
  }
}
