import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { Script, ScriptResult } from "../hub/device-messages.ts";
import type { Clock } from "../platform/clock.ts";
import { runCommand } from "../platform/command.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";

export interface ScriptsOptions {
  /** `[scripts]` */
  readonly config: {
    readonly enabled: boolean;
    readonly interpreter: readonly string[];
    readonly timeoutMs: number;
    readonly maxOutputKib: number;
  };
  /** Added to the environment of each script. */
  readonly environment: () => Readonly<Record<string, string>>;
  readonly answer: (result: ScriptResult) => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** Runs the hub's support scripts; each gets its answer, also one that isn't run. */
export interface Scripts {
  run(script: Script): void;
  stop(): Promise<void>;
}

/** NervesHub forgets a script after 15 s; an answer takes a moment to get there. */
const HUB_PATIENCE_MS = 14_000;
/** Sent at each join, and not forgotten: there is nobody who waits. */
const CONNECTING_CODE = "connecting_code";
const MAX_AT_ONCE = 4;
const CHECK_TIMEOUT_MS = 5000;
const COMMAND_NOT_FOUND = 127;

export function createScripts(options: ScriptsOptions): Scripts {
  const { config, clock, log } = options;
  const stopping = new AbortController();
  const running = new Map<string, Promise<void>>();

  const execute = async ({ ref, text, timeoutMs }: Script): Promise<ScriptResult> => {
    const limitMs = Math.min(
      config.timeoutMs,
      timeoutMs ?? Infinity,
      ref === CONNECTING_CODE ? Infinity : HUB_PATIENCE_MS,
    );
    const folder = await mkdtemp(join(tmpdir(), "hublink-script-")); // mode 0700
    try {
      const file = join(folder, "script");
      await writeFile(file, text, { mode: 0o700 });
      const program = interpreterOf(text) ?? config.interpreter;
      const base = { clock, signal: stopping.signal, env: options.environment() };
      if (looksLikeElixir(text) && isShell(program)) {
        const { exitCode } = await runCommand([...program, "-n", file], {
          ...base,
          timeoutMs: CHECK_TIMEOUT_MS,
        });
        if (exitCode !== 0) return failed(ref, "", noElixir(program));
      }
      const limit = config.maxOutputKib * 1024;
      // One stream for both outputs, so that they come in the order in which they were written.
      const merged = ["/bin/sh", "-c", 'exec "$@" 2>&1', "sh", ...program, file];
      const ended = await runCommand(merged, { ...base, timeoutMs: limitMs, maxOutputBytes: limit + 1 });
      const whole = Buffer.from(ended.stdout);
      const cut = whole.length > limit ? `\n[output cut after ${config.maxOutputKib} KiB]` : "";
      const output = whole.subarray(0, limit).toString("utf8") + cut;
      if (ended.timedOut) return failed(ref, output, `ended after ${limitMs / 1000} s`);
      if (ended.exitCode === 0) return { ref, result: "completed", output, return: "" };
      if (ended.exitCode === COMMAND_NOT_FOUND && looksLikeElixir(text) && isShell(program)) {
        return failed(ref, output, noElixir(program));
      }
      return failed(
        ref,
        output,
        ended.exitCode === null ? "ended by a signal" : `exit code ${ended.exitCode}`,
      );
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  };

  return {
    run(script) {
      const { ref } = script;
      if (running.has(ref)) return; // its answer is on the way
      if (!config.enabled) {
        options.answer(failed(ref, "", "scripts are not enabled on this board"));
        return;
      }
      if (running.size >= MAX_AT_ONCE || stopping.signal.aborted) {
        options.answer(failed(ref, "", `${MAX_AT_ONCE} scripts are running already; try again later`));
        return;
      }
      const work = execute(script)
        .catch((error: unknown) => failed(ref, "", messageOf(error)))
        .then((result) => {
          running.delete(ref);
          log.info("a script of the hub has ended", { ref, how: result.reason ?? result.result });
          if (!stopping.signal.aborted) options.answer(result);
        });
      log.info("a script of the hub runs", { ref });
      running.set(ref, work);
    },
    async stop() {
      stopping.abort(new Error("the agent stops"));
      await Promise.all(running.values());
    },
  };
}

/** The reason goes where people see it as well: the hub shows no `reason`. */
function failed(ref: string, output: string, reason: string): ScriptResult {
  return { ref, result: "error", output, return: reason, reason };
}

/** The program that a `#!` line names, with its one argument, as the kernel reads it. */
function interpreterOf(text: string): readonly string[] | undefined {
  const [, program, argument] = /^#![ \t]*(\S+)(?:[ \t]+(.*?))?[ \t\r]*(?:\n|$)/.exec(text) ?? [];
  if (program === undefined) return undefined;
  return argument === undefined || argument === "" ? [program] : [program, argument];
}

const SHELLS = ["sh", "ash", "bash", "dash", "hush", "busybox"];

function isShell([program = ""]: readonly string[]): boolean {
  return SHELLS.includes(basename(program));
}

/**
 * Forms that Elixir is full of and shell scripts hardly know: `Module.function`, `|>`, `:erlang.calls`,
 * `defmodule`. Only asked of what a shell doesn't understand, or might not.
 */
function looksLikeElixir(text: string): boolean {
  return /(?:^|[\s(])(?:[A-Z]\w*\.)+[a-z_]\w*[!?]?(?=[\s(]|$)|\|>|(?:^|[\s(]):[a-z_]+\.[a-z_]+|^\s*(?:defmodule|alias|require|import) [A-Z]/m.test(
    text,
  );
}

function noElixir([program = ""]: readonly string[]): string {
  return `this looks like Elixir, which this board does not have: scripts are run by ${program}`;
}
