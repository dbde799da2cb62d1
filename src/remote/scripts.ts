/**
 * Support scripts that people send from the hub. Each gets exactly one answer with its output or the reason why it
 * did not run, within the time that NervesHub waits: without an answer the person sees only "timeout".
 */
import { EventEmitter } from "node:events";
import { rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Config } from "../config/schema.ts";
import type { Script, ScriptResult } from "../hub/device-messages.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { Limiter } from "../platform/pace.ts";
import { makeScratch } from "../platform/scratch.ts";
import type { World } from "../platform/world.ts";
import { guestEnvironment } from "./guest-environment.ts";

export interface ScriptsOptions {
  readonly config: Config["scripts"];
  /** Added to the environment of each script. */
  readonly environment: () => Readonly<Record<string, string>>;
  readonly world: World;
  readonly log: Log;
}

interface ScriptsEvents {
  /** The answer for the hub. */
  result: [result: ScriptResult];
}

/** NervesHub forgets a script after 15 s; the answer needs a moment to get there. */
const HUB_TIMEOUT_MS = 14_000;
/** The ref of the script that the hub sends at each join. Nobody waits for it, and the hub does not forget it. */
const CONNECTING_CODE = "connecting_code";
const MAX_AT_ONCE = 4;
const REFUSAL_RATE = { perSecond: 1, burst: 20 };
const CHECK_TIMEOUT_MS = 5000;
const COMMAND_NOT_FOUND = 127;

export class Scripts extends EventEmitter<ScriptsEvents> {
  readonly #options: ScriptsOptions;
  readonly #stopping = new AbortController();
  readonly #running = new Map<string, Promise<void>>();
  readonly #refusals: Limiter;

  constructor(options: ScriptsOptions) {
    super();
    this.#options = options;
    this.#refusals = new Limiter(REFUSAL_RATE, options.world.clock);
  }

  /** Runs a script; a second one with the same ref is the hub's repetition and is ignored. */
  run(script: Script): void {
    const { ref } = script;
    if (this.#running.has(ref)) return;
    const refusal = this.#refusal();
    if (refusal !== undefined) {
      if (this.#refusals.pass() === undefined) return; // a flood; the hub forgets scripts that are not answered
      this.emit("result", failed(ref, "", refusal));
      return;
    }
    const { log } = this.#options;
    const work = this.#execute(script)
      .catch((error: unknown) => failed(ref, "", messageOf(error)))
      .then((result) => {
        this.#running.delete(ref);
        log.info("a script of the hub has ended", { ref, how: result.reason ?? result.result });
        if (!this.#stopping.signal.aborted) this.emit("result", result);
      });
    log.info("a script of the hub runs", { ref });
    this.#running.set(ref, work);
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error("the agent stops"));
    await Promise.all(this.#running.values());
  }

  #refusal(): string | undefined {
    if (!this.#options.config.enabled) return "scripts are not enabled on this board";
    if (this.#stopping.signal.aborted) return "the agent stops; try again later";
    if (this.#running.size < MAX_AT_ONCE) return undefined;
    return `${MAX_AT_ONCE} scripts are running already; try again later`;
  }

  async #execute({ ref, text, timeoutMs }: Script): Promise<ScriptResult> {
    const folder = await makeScratch();
    try {
      const file = join(folder, "script");
      await writeFile(file, text, { mode: 0o700 });
      const program = interpreterOf(text) ?? this.#options.config.interpreter;
      const mayBeElixir = looksLikeElixir(text) && isShell(program);
      if (mayBeElixir && !(await this.#isValidShell(program, file)))
        return failed(ref, "", noElixir(program));
      const limitMs = Math.min(
        this.#options.config.timeoutMs,
        timeoutMs ?? Infinity,
        ref === CONNECTING_CODE ? Infinity : HUB_TIMEOUT_MS,
      );
      const { exitCode, timedOut, output } = await this.#output(program, file, limitMs);
      if (timedOut) return failed(ref, output, `ended after ${limitMs / 1000} s`);
      if (exitCode === 0) return { ref, result: "completed", output, return: "" };
      if (exitCode === COMMAND_NOT_FOUND && mayBeElixir) return failed(ref, output, noElixir(program));
      return failed(ref, output, exitCode === null ? "ended by a signal" : `exit code ${exitCode}`);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** Whether a shell can read the script, without running it (`sh -n`). */
  async #isValidShell(program: readonly string[], file: string): Promise<boolean> {
    const result = await this.#command([...program, "-n", file], { timeoutMs: CHECK_TIMEOUT_MS });
    return result.exitCode === 0;
  }

  async #output(
    program: readonly string[],
    file: string,
    timeoutMs: number,
  ): Promise<{ exitCode: number | null; timedOut: boolean; output: string }> {
    const { maxOutputKib } = this.#options.config;
    const limit = maxOutputKib * 1024;
    // One stream for both outputs keeps them in the order in which they were written.
    const merged = ["/bin/sh", "-c", 'exec "$@" 2>&1', "sh", ...program, file];
    const ended = await this.#command(merged, { timeoutMs, maxOutputBytes: limit + 1 });
    const whole = Buffer.from(ended.stdout);
    const note = whole.length > limit ? `\n[output cut after ${maxOutputKib} KiB]` : "";
    return { ...ended, output: whole.subarray(0, limit).toString("utf8") + note };
  }

  async #command(
    command: readonly string[],
    limits: { readonly timeoutMs: number; readonly maxOutputBytes?: number },
  ): ReturnType<World["run"]> {
    const { world, environment } = this.#options;
    const { signal } = this.#stopping;
    const env = { ...guestEnvironment(), ...environment() };
    return world.run(command, { ...limits, clock: world.clock, signal, env, inheritEnv: false });
  }
}

/** The reason stands in `return` as well, because the hub does not show `reason`. */
function failed(ref: string, output: string, reason: string): ScriptResult {
  return { ref, result: "error", output, return: reason, reason };
}

/** The program of a `#!` line with its one argument, read as the kernel reads it. */
function interpreterOf(text: string): readonly string[] | undefined {
  if (!text.startsWith("#!")) return undefined;
  const [line = ""] = text.slice(2).split("\n", 1);
  const [, program, argument] = /^(\S+)(?:[ \t]+(\S.*))?$/.exec(line.trim()) ?? [];
  if (program === undefined) return undefined;
  return argument === undefined ? [program] : [program, argument];
}

const SHELLS = ["sh", "ash", "bash", "dash", "hush", "busybox"];

function isShell([program = ""]: readonly string[]): boolean {
  return SHELLS.includes(basename(program));
}

/**
 * Whether a text holds forms that are common in Elixir and rare in shell scripts: `Module.function`, `|>`,
 * `:erlang.calls`, `defmodule`. A script counts as Elixir only if a shell can't read it, or finds no such command.
 */
function looksLikeElixir(text: string): boolean {
  return /(?:^|[\s(])(?:[A-Z]\w*\.)+[a-z_]\w*[!?]?(?=[\s(]|$)|\|>|(?:^|[\s(]):[a-z_]+\.[a-z_]+|^[ \t]*(?:defmodule|alias|require|import) [A-Z]/m.test(
    text,
  );
}

function noElixir([program = ""]: readonly string[]): string {
  return `this looks like Elixir, which this board does not have: scripts are run by ${program}`;
}
