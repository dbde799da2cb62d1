/** Lets the ZIP reader look at bytes before it consumes them. */
import type { Input } from "./input.ts";

/** An input that can be looked into before it is consumed. */
export class Lookahead {
  readonly #input: Input;
  #pending: Buffer = Buffer.alloc(0);

  constructor(input: Input) {
    this.#input = input;
  }

  /** The next bytes, at least `count` and perhaps more; undefined when the input has fewer. */
  async atLeast(count: number): Promise<Buffer | undefined> {
    while (this.#pending.length < count) {
      const more = await this.#input.read().catch(() => Buffer.alloc(0)); // a broken input has too few bytes as well
      if (more.length === 0) return undefined;
      this.#pending = this.#pending.length === 0 ? more : Buffer.concat([this.#pending, more]);
    }
    return this.#pending;
  }

  /**
   * The next bytes that are there; empty at the end.
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
