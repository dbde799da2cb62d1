/**
 * A small JSON file in which a part of the agent keeps something across restarts. If the file is damaged, as
 * after a power cut on a bad card, the agent logs a warning and goes on without the content.
 */
import { readFile } from "node:fs/promises";
import * as v from "valibot";
import { writeFileAtomic } from "./files.ts";
import { messageOf, systemCode } from "./failure.ts";
import type { Log } from "./log.ts";
import { parseJson } from "./text.ts";

export class StateFile<const S extends v.GenericSchema> {
  readonly path: string;
  readonly #schema: S;
  readonly #what: string;
  readonly #log: Log;

  /** @param what its name in the log, such as `the journal` */
  constructor(path: string, schema: S, what: string, log: Log) {
    this.path = path;
    this.#schema = schema;
    this.#what = what;
    this.#log = log;
  }

  /** The content; undefined when there is none, with a warning if the file is there and can't be used. */
  async read(): Promise<v.InferOutput<S> | undefined> {
    let text: string;
    try {
      text = await readFile(this.path, "utf8");
    } catch (error) {
      if (systemCode(error) !== "ENOENT") {
        this.#log.warn(`${this.#what} can't be read: ${messageOf(error)}`, { path: this.path });
      }
      return undefined;
    }
    const parsed = v.safeParse(this.#schema, parseJson(text));
    if (parsed.success) return parsed.output;
    this.#log.warn(`${this.#what} is damaged; starting a new one`, { path: this.path });
    return undefined;
  }

  /**
   * Replaces the file; a power cut leaves the old or the new one.
   * @throws the file system's error
   */
  async write(value: v.InferInput<S>): Promise<void> {
    await writeFileAtomic(this.path, `${JSON.stringify(value)}\n`);
  }
}
