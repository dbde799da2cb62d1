/**
 * The extension `error_reports`: sends the hub the errors of the agent, the kernel and applications, which it groups
 * into issues. They wait here while there is no hub. Rule: the first errors of a crash loop say most, so the newest are
 * dropped, and a report says how many; the same error again is counted and not sent again for a while; and nothing is
 * ever reported about reporting.
 */
import { type Cancel, type Clock, LATEST_DATE_MS } from "../platform/clock.ts";
import { TokenBucket } from "../platform/pace.ts";
import { type ErrorReport, errorReport, type ReportedError, sameness } from "./error-report.ts";
import type { Extension, ExtensionContext, RunningExtension } from "./extension.ts";

export interface ErrorReportsOptions {
  /** Uptime, free memory and the like at this moment. */
  readonly vitals: () => Readonly<Record<string, string>>;
  readonly firmwareUuid: () => string | undefined;
  readonly clock: Clock;
}

/** Messages; NervesHub drops what exceeds this. */
const RATE = { perSecond: 1, burst: 5 };
const MAX_BATCH = 25;
/** In characters; a message of more would fill the line. */
const MAX_BATCH_LENGTH = 64 * 1024;
/** Reports wait for others that go into the same message. */
const BATCH_MS = 1000;
const MAX_WAITING = 100;
/** Those of applications; the rest is kept for the agent's own. */
const MAX_MANUAL = 50;
/** The same error is not sent again within this. */
const REPEAT_MS = 600_000;
/** Errors that are remembered for that. */
const MAX_RECENT = 200;

interface Waiting {
  readonly report: ErrorReport;
  readonly key: string;
  /** Monotonic, so that a clock which is set later corrects it; undefined when `wallMs` is known. */
  readonly atMs: number;
  readonly wallMs: number | undefined;
  /** Monotonic: not before this. */
  readonly dueMs: number;
  count: number;
  readonly onSent: (() => void) | undefined;
}

export class ErrorReports implements Extension {
  readonly name = "error_reports";
  readonly versions = ["0.1.0"] as const;
  readonly #options: ErrorReportsOptions;
  readonly #clock: Clock;
  readonly #bucket: TokenBucket;
  #waiting: Waiting[] = [];
  /** When each error was sent last, monotonic; the oldest first. */
  readonly #recent = new Map<string, number>();
  #dropped = 0;
  #context: ExtensionContext | undefined;
  #cancelSend: Cancel = () => undefined;
  /** When it is sent next, monotonic. */
  #sendAtMs = Infinity;

  constructor(options: ErrorReportsOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#bucket = new TokenBucket(RATE, options.clock);
  }

  /**
   * Takes an error.
   * @param onSent called when it is on its way to the hub; not for one that was dropped
   */
  add(error: ReportedError, onSent?: () => void): void {
    const report = errorReport(error, this.#options.vitals(), this.#options.firmwareUuid());
    const key = sameness(report);
    const nowMs = this.#clock.monotonic();
    const same = this.#waiting.find((waiting) => waiting.key === key);
    if (same !== undefined) {
      same.count += 1;
      return;
    }
    const manual = this.#waiting.filter(({ report: { source } }) => source === "manual").length;
    if (this.#waiting.length >= MAX_WAITING || (report.source === "manual" && manual >= MAX_MANUAL)) {
      this.#dropped += 1;
      return;
    }
    const sentMs = this.#recent.get(key);
    const dueMs = sentMs === undefined ? nowMs : Math.max(nowMs, sentMs + REPEAT_MS);
    const { atMs: wallMs } = error;
    const isDate = wallMs !== undefined && wallMs > 0 && wallMs < LATEST_DATE_MS;
    const at = { atMs: nowMs, wallMs: isDate ? wallMs : undefined };
    this.#waiting.push({ report, key, ...at, dueMs, count: 1, onSent });
    this.#plan();
  }

  start(context: ExtensionContext): RunningExtension {
    this.#context = context;
    this.#sendAtMs = Infinity; // the clock of the attachment before has ended
    this.#plan();
    return {
      onMessage: () => undefined, // the hub asks for nothing
      stop: () => {
        if (this.#context === context) this.#context = undefined; // it may be attached again already
      },
    };
  }

  /** Sends when the first report is due. */
  #plan(): void {
    if (this.#context === undefined || this.#waiting.length === 0) return;
    const nowMs = this.#clock.monotonic();
    const atMs = Math.max(nowMs + BATCH_MS, Math.min(...this.#waiting.map(({ dueMs }) => dueMs)));
    if (this.#sendAtMs <= atMs) return; // what comes in a row must not put it off for ever
    this.#cancelSend();
    this.#sendAtMs = atMs;
    this.#cancelSend = this.#context.clock.after(atMs - nowMs, () => {
      this.#sendAtMs = Infinity;
      this.#sendDue();
      this.#plan();
    });
  }

  /** Sends the reports that are due and that the pace allows; the others stay. */
  #sendDue(): void {
    for (;;) {
      const nowMs = this.#clock.monotonic();
      const due = this.#waiting.filter(({ dueMs }) => dueMs <= nowMs);
      if (due.length === 0 || !this.#bucket.take()) return;
      const notice = this.#dropped > 0 ? [this.#dropNotice()] : [];
      const batch = firstOf(due, MAX_BATCH - notice.length);
      const reports = [...notice, ...batch.map((waiting) => this.#payload(waiting))];
      if (this.#context?.push("report", { reports }) !== true) return;
      this.#dropped = 0;
      this.#waiting = this.#waiting.filter((waiting) => !batch.includes(waiting));
      for (const { key, onSent } of batch) {
        this.#remember(key, nowMs);
        onSent?.();
      }
    }
  }

  #remember(key: string, nowMs: number): void {
    this.#recent.delete(key);
    this.#recent.set(key, nowMs);
    const [oldest] = this.#recent.keys();
    if (this.#recent.size > MAX_RECENT && oldest !== undefined) this.#recent.delete(oldest);
  }

  #payload({ report, atMs, wallMs, count }: Waiting): object {
    const at = wallMs ?? this.#clock.now() - (this.#clock.monotonic() - atMs);
    const { kind, reason, ...rest } = report;
    const context = count === 1 ? rest.context : { ...rest.context, times: String(count) };
    return { timestamp: new Date(at).toISOString(), kind, reason, ...rest, context };
  }

  #dropNotice(): object {
    return {
      timestamp: new Date(this.#clock.now()).toISOString(),
      kind: "dropped",
      reason: `${this.#dropped} error reports were dropped: more than the hub takes`,
      source: "logger",
      fingerprint: "hublink:dropped_error_reports",
    };
  }
}

/** The first `count`, or fewer if they are long. */
function firstOf(waiting: readonly Waiting[], count: number): readonly Waiting[] {
  let length = 0;
  const end = waiting.findIndex(({ report }, index) => {
    length += JSON.stringify(report).length;
    return index === count || (index > 0 && length > MAX_BATCH_LENGTH);
  });
  return waiting.slice(0, end === -1 ? count : end);
}
