/**
 * Broken agents: each lacks what keeps one promise, and the torture must find that out within some rounds. Two broken
 * ones once got through: the simulated disk flushed what nobody had flushed. A mutant is a change of the sources, made
 * while they are bundled; it can't get into the product. One whose text is gone stops the test.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Plugin } from "esbuild";
import type { Kind } from "./plan.ts";

/** A broken agent. */
export interface Mutant {
  /** What it does not do. */
  readonly name: string;
  /** The file in src, and its text that is replaced. */
  readonly file: string;
  readonly text: string;
  readonly by: string;
  /** The kind of rounds that must find it, and within how many. */
  readonly kind: Kind;
  /** Only rounds with this fault are played and count. */
  readonly fault?: string;
  readonly rounds: number;
}

export const MUTANTS: readonly Mutant[] = [
  {
    name: "the other slot stays valid while it is written",
    file: "firmware/board-firmware.ts",
    text: 'if (target === "") return;',
    by: "return;",
    kind: "power",
    rounds: 30,
  },
  {
    name: "the environment is not flushed",
    file: "firmware/uboot-environment.ts",
    text: "await handle.sync();",
    by: "",
    kind: "power",
    rounds: 30,
  },
  {
    name: "the device is not flushed after fwup",
    file: "firmware/fwup.ts",
    text: "await runFwup({ ...options, args }, source);\n  await syncPath(options.devpath);",
    by: "await runFwup({ ...options, args }, source);",
    kind: "power",
    rounds: 30,
  },
  {
    name: "the device is not flushed after a task of the ops file",
    file: "firmware/fwup.ts",
    text: "stallMs: OPS_STALL_MS });\n  await syncPath(options.devpath);",
    by: "stallMs: OPS_STALL_MS });",
    kind: "power",
    rounds: 60,
  },
  {
    name: "state files are not flushed before they are renamed",
    file: "platform/files.ts",
    text: "await file.writeFile(content);\n    await file.sync();",
    by: "await file.writeFile(content);",
    kind: "power",
    rounds: 30,
  },
  {
    name: "fwup's errors are not seen",
    file: "firmware/fwup-process.ts",
    text: 'const ok = this.#verdict?.type === "ok" && ending.exitCode === 0;',
    by: "const ok = true;",
    kind: "disk",
    rounds: 30,
  },
  {
    name: "the cache keeps the file of an installed update",
    file: "download/cache.ts",
    text: "await removeCached(this.#pathsOf(uuid))",
    by: "await Promise.resolve()",
    kind: "network",
    rounds: 15,
  },
  {
    name: "the end of the firmware is not withheld",
    file: "download/verify.ts",
    text: "const free = held.length + chunk.length - TAIL_BYTES;",
    by: "const free = held.length + chunk.length;",
    kind: "others",
    fault: "somebody's fwup during the update",
    rounds: 20,
  },
  {
    name: "the journal is not kept",
    file: "firmware/journal.ts",
    text: "await this.#file.write(this.#entries);",
    by: "await Promise.resolve();",
    kind: "others",
    fault: "somebody's fwup, then a restart of the agent",
    rounds: 10,
  },
  {
    name: "the slots are not read again before a step",
    file: "firmware/board-firmware.ts",
    text: "if (this.#running === undefined) await noteUnnoticed(this.#options);",
    by: "if (this.#running !== undefined) return;",
    kind: "others",
    fault: "somebody's fwup during the update",
    rounds: 10,
  },
  {
    name: "firmware counts as booted when the agent starts",
    file: "firmware/this-boot.ts",
    text: "const { boot, installed } = this.#journal;\n    const waiting",
    by: "if (this.#id !== undefined) return undefined;\n    const { boot, installed } = this.#journal;\n    const waiting",
    kind: "others",
    fault: "somebody's fwup, then a restart of the agent",
    rounds: 10,
  },
  {
    name: "a second agent is not kept out",
    file: "cli/state-lock.ts",
    text: "const locked = await lock(dir, context.world.clock, log);",
    by: "const locked: Lock | undefined = await lock(`${dir}-${process.pid}`, context.world.clock, log);",
    kind: "others",
    fault: "two agents at once",
    rounds: 10,
  },
  {
    name: "a wrong time of the hub is believed",
    file: "board/clock-guard.ts",
    text: "if (problem !== undefined) {\n      log.warn(`the hub's time",
    by: "if (problem === '') {\n      log.warn(`the hub's time",
    kind: "others",
    fault: "wrong Date on a board without a clock",
    rounds: 10,
  },
  {
    name: "the hub's time moves no clock back",
    file: "board/clock-guard.ts",
    text: "this.#known = this.#since(hubMs);\n    const isOff",
    by: "this.#known = this.#since(Math.max(hubMs, this.#counted(this.#known)));\n    const isOff",
    kind: "others",
    fault: "wrong Date on a board without a clock",
    rounds: 10,
  },
  {
    name: "a late disk is not looked for",
    file: "firmware/board-firmware.ts",
    text: "      this.#problem = error;\n      return;",
    by: "      this.#problem = error;\n      this.refresh = async () => undefined;\n      return;",
    kind: "others",
    fault: "late disk",
    rounds: 10,
  },
  {
    name: "firmware that can't reach its hub is not rebooted out of",
    file: "care/validation.ts",
    text: 'this.emit("expired");',
    by: "",
    kind: "others",
    fault: "new firmware that can't reach its hub",
    rounds: 10,
  },
  {
    name: "the fwup of a killed agent is not ended",
    file: "firmware/device-claim.ts",
    text: "for (const writer of left) {",
    by: "left.splice(0);\n      for (const writer of left) {",
    kind: "others",
    fault: "killed agent whose fwup lives on",
    rounds: 10,
  },
];

const SOURCES = join(import.meta.dirname, "../../src");

/** Makes a mutant while the agent is bundled. @throws Error from the bundler when its text is gone */
export function mutation({ name, file, text, by }: Mutant): Plugin {
  return {
    name: "mutation",
    setup(bundling) {
      const path = join(SOURCES, file);
      let made = false;
      bundling.onLoad({ filter: /\.ts$/ }, async (loaded) => {
        if (loaded.path !== path) return undefined;
        const source = await readFile(path, "utf8");
        const parts = source.split(text);
        if (parts.length !== 2)
          throw new Error(`mutant "${name}": its text is ${parts.length - 1} times in ${file}, not once`);
        made = true;
        return { contents: parts.join(by), loader: "ts" };
      });
      bundling.onEnd(() => {
        if (!made) throw new Error(`mutant "${name}": ${file} is not part of the agent`);
      });
    },
  };
}
