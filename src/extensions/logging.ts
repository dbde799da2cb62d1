import { type Clock, sleep } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import { type Level, type LogLine, redact } from "../platform/log.ts";
import { TokenBucket } from "../platform/token-bucket.ts";
import type { Extension, ExtensionContext } from "./extension.ts";
import { followLines } from "./follow-lines.ts";

export interface LoggingOptions {
  /** Line for the shell whose output is sent as well, such as `logread -f`; empty for none. */
  readonly command: string;
  readonly clock: Clock;
}

/** The extension, and where the agent's own lines go in. */
export interface Logging {
  readonly extension: Extension;
  readonly add: (line: LogLine) => void;
}

interface Entry {
  readonly level: "error" | "warning" | "info" | "debug";
  readonly message: string;
  readonly timeMs: number;
  readonly meta: Readonly<Record<string, string>>;
}

/** NervesHub takes as much, and drops the rest. */
const RATE = { perSecond: 5, burst: 10 };
/** What waits for its turn, or for the hub to come back: the newest. */
const MAX_WAITING = 200;
const MAX_MESSAGE_LENGTH = 4096;
/** A command that ends is started again. */
const RESTART_MS = 30_000;
/** Elixir's names. */
const LEVELS = { error: "error", warn: "warning", info: "info", debug: "debug" } as const satisfies Record<
  Level,
  string
>;
/** Whose lines are never sent: each would make the next. */
const OWN_SCOPES: readonly string[] = ["logging", "extensions"];

/** Sends log lines at the pace that the hub takes; what it can't take is counted, and the hub is told. */
export function createLogging({ command, clock }: LoggingOptions): Logging {
  const bucket = new TokenBucket(RATE, clock);
  let waiting: Entry[] = [];
  let dropped = 0;
  let wake = (): void => undefined;

  const keep = (entry: Entry): void => {
    waiting.push(entry);
    if (waiting.length > MAX_WAITING) {
      waiting.shift();
      dropped += 1;
    }
    wake();
  };

  /** @returns false when it has to wait */
  const send = ({ push }: ExtensionContext, { level, message, timeMs, meta }: Entry): boolean =>
    push("send", {
      level,
      message,
      timestamp: new Date(timeMs).toISOString(),
      meta: { ...meta, time: String(timeMs * 1000) }, // microseconds, as Elixir's logger has it
    });

  const noteOfDrops = (): Entry => ({
    level: "warning",
    message: `${dropped} log lines were dropped: more than the hub takes`,
    timeMs: clock.now(),
    meta: {},
  });

  /** Sends what the pace allows. */
  const drain = (context: ExtensionContext): void => {
    while (waiting.length > 0 && bucket.take()) {
      const [first] = waiting;
      if (dropped > 0) {
        if (!send(context, noteOfDrops())) return;
        dropped = 0;
      } else if (first !== undefined) {
        if (!send(context, first)) return;
        waiting = waiting.slice(1);
      }
    }
  };

  const follow = async (context: ExtensionContext): Promise<void> => {
    for (;;) {
      try {
        await followLines(command, context.clock, context.signal, (line) => {
          const message = redact(line).slice(0, MAX_MESSAGE_LENGTH);
          keep({ level: "info", message, timeMs: clock.now(), meta: { source: "command" } });
        });
      } catch (error) {
        if (context.signal.aborted) return;
        context.log.warn(`logging.command: ${messageOf(error)}`);
      }
      try {
        await sleep(context.clock, RESTART_MS, context.signal);
      } catch {
        return; // detached
      }
    }
  };

  return {
    add({ level, scope, message, fields }) {
      if (OWN_SCOPES.includes(scope) || message.startsWith("extensions:")) return;
      keep({ level: LEVELS[level], message, timeMs: clock.now(), meta: { scope, ...fields } });
    },
    extension: {
      name: "logging",
      version: "0.0.1",
      start(context) {
        const tick = (): void => {
          drain(context);
          if (waiting.length > 0) context.clock.after(1000 / RATE.perSecond, tick);
          else wake = once(tick);
        };
        // Not in the same turn: the line that wakes may come from within the hub's own code.
        const once = (task: () => void) => () => {
          wake = () => undefined;
          context.clock.after(0, task);
        };
        context.clock.after(0, tick);
        const following =
          command === "" ? undefined : follow(context).catch((error: unknown) => context.fail(error));
        return {
          onMessage: () => undefined,
          async stop() {
            wake = () => undefined;
            await following;
          },
        };
      },
    },
  };
}
