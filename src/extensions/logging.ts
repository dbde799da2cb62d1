/**
 * The extension `logging`: sends the agent's log, and the output of a command such as `logread -f`, to the hub. With
 * version 0.0.1 the hub accepts five lines a second, with 0.1.0 five messages of up to 100 lines. Of what comes faster,
 * and of what comes before the hub attaches it, the newest lines wait, the rest is counted, and the hub gets the count.
 * The command's output is read in steps: a command that floods then waits in its pipe instead of using the
 * board's only core.
 */
import { addAbortListener } from "node:events";
import type { Config } from "../config/schema.ts";
import { signalGroup, spawnGroup } from "../platform/child.ts";
import { type Clock, sleep } from "../platform/clock.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import { type Level, type LogLine, redact } from "../platform/log.ts";
import { LineSplitter, printable } from "../platform/text.ts";
import { TokenBucket } from "../platform/pace.ts";
import type { Extension, ExtensionContext, RunningExtension } from "./extension.ts";

interface Entry {
  readonly level: "error" | "warning" | "info" | "debug";
  readonly message: string;
  readonly timeMs: number;
  readonly meta: Readonly<Record<string, string>>;
}

const BATCHES = "0.1.0";
/** Messages; NervesHub drops what exceeds this, in both versions (protocol §6, §7.3). */
const RATE = { perSecond: 5, burst: 10 };
/** Lines in a message of version 0.1.0. */
const MAX_BATCH = 100;
/** Lines wait for others that go into the same message. */
const BATCH_MS = 1000;
/** In characters; a message of more is split, so that it does not fill the line. */
const MAX_BATCH_LENGTH = 64 * 1024;
/** Lines kept while the pace or the connection does not let them through: the newest. */
const MAX_WAITING = 1000;
/** Version 0.0.1 would be busy for minutes with more, and the newest come last. */
const MAX_WAITING_SINGLE = 200;
const MAX_WAITING_LENGTH = 256 * 1024;
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
  readonly versions = [BATCHES, "0.0.1"] as const;
  readonly #command: string;
  readonly #clock: Clock;
  readonly #bucket: TokenBucket;
  #waiting: Entry[] = [];
  /** The characters of their messages. */
  #waitingLength = 0;
  #maxWaiting = MAX_WAITING;
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
    const batchSize = context.version === BATCHES ? MAX_BATCH : 1;
    this.#maxWaiting = context.version === BATCHES ? MAX_WAITING : MAX_WAITING_SINGLE;
    this.#dropOldest();
    const pauseMs = context.version === BATCHES ? BATCH_MS : 1000 / RATE.perSecond;
    const sendDue = (): void => {
      this.#sendAllowed(context, batchSize);
      if (this.#waiting.length > 0) context.clock.after(pauseMs, sendDue);
      else this.#wake = wakeOnce;
    };
    // Sent from a timer, because the line that wakes may come from within the hub's own code.
    const wakeOnce = (): void => {
      this.#wake = () => undefined;
      context.clock.after(batchSize === 1 ? 0 : BATCH_MS, sendDue);
    };
    context.clock.after(0, sendDue);
    const following =
      this.#command === "" ? undefined : this.#follow(context).catch((error: unknown) => context.fail(error));
    return {
      onMessage: () => undefined,
      stop: async () => {
        this.#wake = () => undefined;
        this.#maxWaiting = MAX_WAITING;
        await following;
      },
    };
  }

  #enqueue(entry: Entry): void {
    this.#waiting.push(entry);
    this.#waitingLength += entry.message.length;
    this.#dropOldest();
    this.#wake();
  }

  #dropOldest(): void {
    while (this.#waiting.length > this.#maxWaiting || this.#waitingLength > MAX_WAITING_LENGTH) {
      this.#waitingLength -= this.#waiting.shift()?.message.length ?? 0;
      this.#dropped += 1;
    }
  }

  /** Sends the lines that the rate allows, and first the number of dropped ones. */
  #sendAllowed(context: ExtensionContext, batchSize: number): void {
    while (this.#waiting.length > 0 && this.#bucket.take()) {
      const notice = this.#dropped > 0 ? [this.#dropNotice()] : [];
      const lines = firstOf(this.#waiting, batchSize - notice.length);
      if (!send(context, [...notice, ...lines])) return;
      this.#dropped = 0;
      this.#waiting = this.#waiting.slice(lines.length);
      this.#waitingLength -= lengthOf(lines);
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
          // Programs color their lines, and anybody may write to syslog: the hub's users read this in a terminal too.
          const message = printable(redact(line)).slice(0, MAX_MESSAGE_LENGTH);
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

/** The first `count` entries, or fewer if they are long. */
function firstOf(entries: readonly Entry[], count: number): readonly Entry[] {
  let length = 0;
  const end = entries.findIndex((entry, index) => {
    length += entry.message.length;
    return index === count || (index > 0 && length > MAX_BATCH_LENGTH);
  });
  return entries.slice(0, end === -1 ? count : end);
}

function lengthOf(entries: readonly Entry[]): number {
  return entries.reduce((length, { message }) => length + message.length, 0);
}

/** False when the connection did not take it. */
function send({ push, version }: ExtensionContext, entries: readonly Entry[]): boolean {
  const lines = entries.map(({ level, message, timeMs, meta }) => ({
    ...{ level, message, timestamp: new Date(timeMs).toISOString() },
    meta: { ...meta, time: String(timeMs * 1000) }, // microseconds, as in Elixir's logger
  }));
  return push("send", version === BATCHES ? { lines } : lines[0]);
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
