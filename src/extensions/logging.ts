/**
 * The extension `logging`: sends the agent's log, and the output of a command such as `logread -f`, to the hub. The
 * hub accepts five lines a second; of what comes faster the newest lines wait, the rest is counted, and the hub gets
 * the count. The command's output is read in steps: a command that floods then waits in its pipe instead of using the
 * board's only core.
 */
import { addAbortListener } from "node:events";
import type { Config } from "../config/schema.ts";
import { signalGroup, spawnGroup } from "../platform/child.ts";
import { type Clock, sleep } from "../platform/clock.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import { type Level, type LogLine, redact } from "../platform/log.ts";
import { LineSplitter } from "../platform/text.ts";
import { TokenBucket } from "../platform/pace.ts";
import type { Extension, ExtensionContext, RunningExtension } from "./extension.ts";

interface Entry {
  readonly level: "error" | "warning" | "info" | "debug";
  readonly message: string;
  readonly timeMs: number;
  readonly meta: Readonly<Record<string, string>>;
}

/** NervesHub drops what exceeds this. */
const RATE = { perSecond: 5, burst: 10 };
/** Lines kept while the pace or the connection does not let them through: the newest. */
const MAX_WAITING = 200;
const MAX_MESSAGE_LENGTH = 4096;
/** A command that has ended is started again after this. */
const RESTART_MS = 30_000;
/** The names of Elixir's log levels. */
const LEVELS = { error: "error", warn: "warning", info: "info", debug: "debug" } as const satisfies Record<
  Level,
  string
>;
/** Lines of these scopes are about sending lines: each one that is sent would cause the next. */
const OWN_SCOPES: readonly string[] = ["logging", "extensions"];

export class Logging implements Extension {
  readonly name = "logging";
  readonly version = "0.0.1";
  readonly #command: string;
  readonly #clock: Clock;
  readonly #bucket: TokenBucket;
  #waiting: Entry[] = [];
  #dropped = 0;
  /** Called when a line is added while nothing waits. */
  #wake = (): void => undefined;

  /** @param config whose `command` is a shell command line such as `logread -f`; empty for none */
  constructor({ command }: Config["logging"], clock: Clock) {
    this.#command = command;
    this.#clock = clock;
    this.#bucket = new TokenBucket(RATE, clock);
  }

  /** Adds a line of the agent's log. */
  add({ level, scope, message, fields }: LogLine): void {
    if (OWN_SCOPES.includes(scope) || message.startsWith("extensions:")) return;
    this.#enqueue({ level: LEVELS[level], message, timeMs: this.#clock.now(), meta: { scope, ...fields } });
  }

  start(context: ExtensionContext): RunningExtension {
    const sendDue = (): void => {
      this.#sendAllowed(context);
      if (this.#waiting.length > 0) context.clock.after(1000 / RATE.perSecond, sendDue);
      else this.#wake = wakeOnce;
    };
    // Sent from a timer, because the line that wakes may come from within the hub's own code.
    const wakeOnce = (): void => {
      this.#wake = () => undefined;
      context.clock.after(0, sendDue);
    };
    context.clock.after(0, sendDue);
    const following =
      this.#command === "" ? undefined : this.#follow(context).catch((error: unknown) => context.fail(error));
    return {
      onMessage: () => undefined,
      stop: async () => {
        this.#wake = () => undefined;
        await following;
      },
    };
  }

  #enqueue(entry: Entry): void {
    this.#waiting.push(entry);
    if (this.#waiting.length > MAX_WAITING) {
      this.#waiting.shift();
      this.#dropped += 1;
    }
    this.#wake();
  }

  /** Sends the lines that the rate allows, and first the number of dropped ones. */
  #sendAllowed(context: ExtensionContext): void {
    while (this.#waiting.length > 0 && this.#bucket.take()) {
      const [first] = this.#waiting;
      if (this.#dropped > 0) {
        if (!send(context, this.#dropNotice())) return;
        this.#dropped = 0;
      } else if (first !== undefined) {
        if (!send(context, first)) return;
        this.#waiting = this.#waiting.slice(1);
      }
    }
  }

  #dropNotice(): Entry {
    return {
      level: "warning",
      message: `${this.#dropped} log lines were dropped: more than the hub takes`,
      timeMs: this.#clock.now(),
      meta: {},
    };
  }

  /** Runs the command until the extension is detached. */
  async #follow({ clock, signal, log }: ExtensionContext): Promise<void> {
    for (;;) {
      try {
        await followLines(this.#command, clock, signal, (line) => {
          const message = redact(line).slice(0, MAX_MESSAGE_LENGTH);
          this.#enqueue({ level: "info", message, timeMs: this.#clock.now(), meta: { source: "command" } });
        });
      } catch (error) {
        if (signal.aborted) return;
        log.warn(`logging.command: ${messageOf(error)}`);
      }
      try {
        await sleep(clock, RESTART_MS, signal);
      } catch {
        return; // detached
      }
    }
  }
}

/** False when the line did not take it. */
function send({ push }: ExtensionContext, { level, message, timeMs, meta }: Entry): boolean {
  return push("send", {
    level,
    message,
    timestamp: new Date(timeMs).toISOString(),
    meta: { ...meta, time: String(timeMs * 1000) }, // microseconds, as in Elixir's logger
  });
}

/** A longer line ends the command. */
const MAX_LINE_BYTES = 64 * 1024;
/** Pause after each chunk (64 KiB at most). */
const PAUSE_MS = 100;

/**
 * Runs a shell command line and passes on its output line by line, until it ends. `signal` kills it with
 * everything it started.
 * @throws Failure `command_failed` when it can't be started, ends with an error, or writes a line without an end
 */
export async function followLines(
  command: string,
  clock: Clock,
  signal: AbortSignal,
  onLine: (line: string) => void,
): Promise<void> {
  const child = spawnGroup("/bin/sh", ["-c", command], { stdio: ["ignore", "pipe", "ignore"] });
  const { stdout } = child;
  let cancelPause = (): void => undefined;
  let fail: (problem: string) => void = () => undefined;
  const kill = (): void => {
    try {
      signalGroup(child);
    } catch (error) {
      fail(messageOf(error)); // EPERM: it has changed its user
    }
    stdout?.destroy(); // a daemon that has left the group may hold it open for ever
  };
  using _listener = addAbortListener(signal, kill);
  try {
    await new Promise<void>((resolve, reject) => {
      fail = (problem) => reject(new Failure("command_failed", problem));
      const lines = new LineSplitter(MAX_LINE_BYTES, onLine, () => {
        fail("it writes a line without an end");
        kill();
      });
      stdout?.on("data", (chunk: Buffer) => {
        lines.push(chunk);
        stdout.pause();
        cancelPause = clock.after(PAUSE_MS, () => stdout.resume());
      });
      child.once("error", (error) => fail(messageOf(error)));
      child.once("close", (exitCode) => {
        if (exitCode === 0) resolve();
        else fail(`it ended with ${exitCode ?? "a signal"}`);
      });
    });
  } finally {
    cancelPause();
  }
}
