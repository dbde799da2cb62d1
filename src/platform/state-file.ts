/**
 * A small JSON file in which a part of the agent remembers something over a restart. A file that is damaged,
 * as after a power cut on a bad card, costs what it remembered and a warning, never the agent.
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

  /** @param what how the log names it: `the journal` */
  constructor(path: string, schema: S, what: string, log: Log) {
    this.path = path;
    this.#schema = schema;
    this.#what = what;
    this.#log = log;
  }

  /** What was kept; undefined, with a warning unless nothing was kept yet, when it can't be used. */
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
   * Replaces it so that a power cut leaves the old or the new one.
   * @throws the file system's error
   */
  async write(value: v.InferInput<S>): Promise<void> {
    await writeFileAtomic(this.path, `${JSON.stringify(value)}\n`);
  }
}
