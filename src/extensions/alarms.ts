/**
 * The extension `alarms`: each alarm is sent when it is raised and when it is cleared, and all of them when the hub
 * asks. Rule: no more than the hub takes, or it drops messages and asks for all alarms again (protocol §7.3). While it
 * is attached, the health report leaves alarms to it.
 */
import type { Clock } from "../platform/clock.ts";
import { TokenBucket } from "../platform/pace.ts";
import type { Alarm, AlarmList } from "./alarm-list.ts";
import type { Extension, ExtensionContext, RunningExtension } from "./extension.ts";

/** A little below the hub's: one a second, ten at once. */
const RATE = { perSecond: 0.9, burst: 8 };
const RETRY_MS = 1000;
/** New descriptions of alarms that are raised already, such as the percents of an update, are sent once in this time. */
const CHANGES_MS = 60_000;
/** Messages that wait; for more, one with all alarms stands. */
const MAX_WAITING = 30;

export interface AlarmsOptions {
  readonly list: AlarmList;
  /** Whether the clock shows the time, or only a guess. */
  readonly clockIsSet: () => boolean;
  readonly clock: Clock;
}

export class AlarmsExtension implements Extension {
  readonly name = "alarms";
  readonly versions = ["0.1.0"] as const;
  readonly #options: AlarmsOptions;
  readonly #bucket: TokenBucket;
  /** The time at which each alarm was raised, as it was sent first. */
  readonly #raisedAt = new WeakMap<Alarm, string>();
  #signal: AbortSignal | undefined;

  constructor(options: AlarmsOptions) {
    this.#options = options;
    this.#bucket = new TokenBucket(RATE, options.clock);
  }

  /** Whether the hub gets the alarms from here. */
  get attached(): boolean {
    return this.#signal !== undefined && !this.#signal.aborted;
  }

  start(context: ExtensionContext): RunningExtension {
    this.#signal = context.signal;
    const { list } = this.#options;
    const sender = new AlarmSender(context, this.#bucket, () => this.#snapshot());
    const onRaised = (alarm: Alarm): void => sender.send("raised", () => this.#raised(alarm));
    const onChanged = (alarm: Alarm): void => sender.sendChange(alarm.name, () => this.#changed(alarm));
    const onCleared = (name: string, goneMs: number): void =>
      sender.send("cleared", () => ({ alarm: name, ...this.#time("cleared_at", goneMs) }));
    list.on("raised", onRaised).on("changed", onChanged).on("cleared", onCleared);
    return {
      onMessage(event) {
        if (event === "sync") sender.sendAll();
      },
      stop() {
        list.off("raised", onRaised).off("changed", onChanged).off("cleared", onCleared);
      },
    };
  }

  #snapshot(): object {
    return { alarms: this.#options.list.current.map((alarm) => this.#raised(alarm)) };
  }

  /** Undefined once it is cleared: the hub would raise it again. */
  #changed(alarm: Alarm): object | undefined {
    return this.#options.list.current.includes(alarm) ? this.#raised(alarm) : undefined;
  }

  #raised(alarm: Alarm): object {
    const { name, description, raisedMs } = alarm;
    const known = this.#raisedAt.get(alarm);
    const time = known === undefined ? this.#time("raised_at", raisedMs) : { raised_at: known };
    if (time.raised_at !== undefined) this.#raisedAt.set(alarm, time.raised_at);
    return { alarm: name, ...(description !== "" && { description }), ...time };
  }

  /** Counted back from now, since the clock may have been set in between; nothing while it is not set. */
  #time<K extends string>(key: K, atMonotonicMs: number): { readonly [key in K]?: string } {
    const { clock, clockIsSet } = this.#options;
    if (!clockIsSet()) return {};
    const at = new Date(clock.now() - (clock.monotonic() - atMonotonicMs)).toISOString();
    return { [key]: at } as { [key in K]?: string };
  }
}

interface Message {
  readonly event: "raised" | "cleared" | "snapshot";
  /** Made when it is sent; undefined when it is not needed any more. */
  readonly payload: () => object | undefined;
}

/** Sends the messages of one attachment in order, at the hub's pace. */
class AlarmSender {
  readonly #context: ExtensionContext;
  readonly #bucket: TokenBucket;
  readonly #all: Message;
  #waiting: Message[] = [];
  #timer = false;
  /** Changes that wait for the end of {@link CHANGES_MS}, by the name of the alarm. */
  readonly #changes = new Map<string, Message>();
  #changesPaused = false;

  constructor(context: ExtensionContext, bucket: TokenBucket, snapshot: () => object) {
    this.#context = context;
    this.#bucket = bucket;
    this.#all = { event: "snapshot", payload: snapshot };
  }

  send(event: "raised" | "cleared", payload: Message["payload"]): void {
    if (this.#waiting.length >= MAX_WAITING) this.#waiting = [this.#all];
    else this.#waiting.push({ event, payload });
    this.#sendAllowed();
  }

  /** All alarms, after the messages that wait. */
  sendAll(): void {
    if (this.#waiting.at(-1) !== this.#all) this.#waiting.push(this.#all);
    this.#sendAllowed();
  }

  sendChange(name: string, payload: Message["payload"]): void {
    this.#changes.set(name, { event: "raised", payload });
    if (!this.#changesPaused) this.#sendChanges();
  }

  #sendChanges(): void {
    this.#changesPaused = this.#changes.size > 0;
    for (const { payload } of this.#changes.values()) this.send("raised", payload);
    this.#changes.clear();
    if (this.#changesPaused) this.#context.clock.after(CHANGES_MS, () => this.#sendChanges());
  }

  #sendAllowed(): void {
    while (this.#waiting.length > 0) {
      const [{ event, payload } = this.#all] = this.#waiting;
      const made = payload();
      if (made !== undefined && !(this.#bucket.take() && this.#context.push(event, made))) break;
      this.#waiting.shift();
    }
    if (this.#waiting.length === 0 || this.#timer) return;
    this.#timer = true;
    this.#context.clock.after(RETRY_MS, () => {
      this.#timer = false;
      this.#sendAllowed();
    });
  }
}
