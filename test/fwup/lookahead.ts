import type { Input } from "./input.ts";

/** An input that can be looked into before it is consumed. */
export class Lookahead {
  readonly #input: Input;
  #pending: Buffer = Buffer.alloc(0);

  constructor(input: Input) {
    this.#input = input;
  }

  /** What comes next, at least `count` bytes and perhaps more; undefined when there aren't as many. */
  async atLeast(count: number): Promise<Buffer | undefined> {
    while (this.#pending.length < count) {
      const more = await this.#input.read().catch(() => Buffer.alloc(0)); // broken off: too few, too
      if (more.length === 0) return undefined;
      this.#pending = this.#pending.length === 0 ? more : Buffer.concat([this.#pending, more]);
    }
    return this.#pending;
  }

  /**
   * What comes next, as it came; empty at the end.
   * @throws FwupError when the input breaks off
   */
  async some(): Promise<Buffer> {
    if (this.#pending.length === 0) this.#pending = await this.#input.read();
    return this.#pending;
  }

  /** Drops bytes that were looked at. */
  consume(count: number): void {
    this.#pending = this.#pending.subarray(count);
  }
}
