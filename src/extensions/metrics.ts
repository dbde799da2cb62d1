/**
 * The extension `metrics`: numbers with the time at which they were measured, also those from before the connection.
 * The sampler belongs to the agent and measures all the time; the extension sends what waits when the hub asks. Rule:
 * times are counted back from the clock at the moment of sending, and nothing is sent while that is not set. So a clock
 * that is set after the boot corrects the times of all readings before it.
 */
import { type Cancel, type Clock, within } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { Extension, ExtensionContext, RunningExtension } from "./extension.ts";
import type { Metrics } from "./health-metrics.ts";
import { MetricHistory } from "./metric-history.ts";

/** Reports in a message (protocol §7.3). */
const MAX_BATCH = 60;
/** NervesHub drops more than one message a second; five at once would pass, which nobody needs. */
const PAUSE_MS = 1100;
/** A reading that is younger than this answers the hub's request as well. */
const FRESH_MS = 10_000;
/** A disk that hangs must not end the sampling. */
const READ_TIMEOUT_MS = 10_000;

export interface SamplerOptions {
  /** 0: measures only when the hub asks. */
  readonly intervalMs: number;
  readonly read: () => Promise<Metrics>;
  readonly clock: Clock;
  readonly log: Log;
}

/** Measures in the interval, whether there is a hub or not. */
export class MetricSampler {
  readonly history = new MetricHistory();
  readonly #options: SamplerOptions;
  #cancel: Cancel = () => undefined;
  #stopped = true;

  constructor(options: SamplerOptions) {
    this.#options = options;
  }

  /** The first reading comes after one interval: until then the board is busy with its start. */
  start(): void {
    this.#stopped = false;
    this.#plan();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  /** Adds a reading, unless the last one is fresh. Never rejects: a number that can't be read is none. */
  async sample(): Promise<void> {
    const { clock, log, read } = this.#options;
    const { newestMs } = this.history;
    if (newestMs !== undefined && clock.monotonic() - newestMs < FRESH_MS) return;
    await this.#add(clock, log, read);
  }

  async #add(clock: Clock, log: Log, read: SamplerOptions["read"]): Promise<void> {
    try {
      const metrics = await within(clock, READ_TIMEOUT_MS, read(), undefined);
      if (metrics !== undefined) this.history.add({ atMonotonicMs: clock.monotonic(), metrics });
    } catch (error) {
      log.warn(`nothing was measured: ${messageOf(error)}`);
    }
  }

  #plan(): void {
    const { clock, intervalMs, log, read } = this.#options;
    if (intervalMs === 0) return;
    this.#cancel = clock.after(intervalMs, () => {
      void this.#add(clock, log, read).then(() => {
        if (!this.#stopped) this.#plan();
      });
    });
  }
}

export interface MetricsOptions {
  readonly sampler: MetricSampler;
  /** Whether the clock shows the time, or only a guess. */
  readonly clockIsSet: () => boolean;
  readonly clock: Clock;
}

export class MetricsExtension implements Extension {
  readonly name = "metrics";
  readonly versions = ["0.1.0"] as const;
  readonly #options: MetricsOptions;

  constructor(options: MetricsOptions) {
    this.#options = options;
  }

  start(context: ExtensionContext): RunningExtension {
    const { sampler } = this.#options;
    let sending = false;
    const sendNext = (): void => {
      sending = this.#sendBatch(context);
      if (sending) context.clock.after(PAUSE_MS, sendNext);
    };
    return {
      async onMessage(event) {
        if (event !== "check") return;
        await sampler.sample();
        if (!sending && !context.signal.aborted) sendNext();
      },
    };
  }

  /** @returns whether to come back for the rest, or for this batch if the connection did not take it */
  #sendBatch({ push }: ExtensionContext): boolean {
    const { clock, clockIsSet, sampler } = this.#options;
    const { history } = sampler;
    const nowMonotonicMs = clock.monotonic();
    const batch = clockIsSet() ? history.oldest(MAX_BATCH, nowMonotonicMs) : [];
    if (batch.length === 0) return false;
    const nowMs = clock.now();
    const reports = batch.map(({ atMonotonicMs, metrics }) => ({
      timestamp: new Date(nowMs - (nowMonotonicMs - atMonotonicMs)).toISOString(),
      metrics,
    }));
    if (push("report", { reports })) history.drop(batch.length);
    return true;
  }
}
