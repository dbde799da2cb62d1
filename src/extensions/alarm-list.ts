/**
 * The alarms that are raised on this board, the agent's own and the application's, for all that report them. Rule: an
 * alarm that comes and goes is damped. The third time within ten minutes it stays raised, with a description that says
 * so, until it has been gone for ten minutes: each of its messages would cost the hub a write.
 */
import { EventEmitter } from "node:events";
import type { Cancel, Clock } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";

/** One alarm, from when it is raised until it is cleared. */
export interface Alarm {
  readonly name: string;
  /** May change while it is raised; may be empty. */
  readonly description: string;
  /** On the clock that never jumps. */
  readonly raisedMs: number;
}

interface AlarmEvents {
  raised: [alarm: Alarm];
  /** Its description is another one. */
  changed: [alarm: Alarm];
  /** @param goneMs on the clock that never jumps */
  cleared: [name: string, goneMs: number];
}

/** An alarm that is raised so often within the window is damped. */
const MAX_RAISES = 3;
const WINDOW_MS = 600_000;
/** How long it must have been gone before it is cleared. */
const QUIET_MS = 600_000;
const DAMPED = "it comes and goes, and stays raised until it has been gone for 10 minutes";
/** Names whose last raises are remembered. */
const MAX_REMEMBERED = 100;

class RaisedAlarm implements Alarm {
  readonly name: string;
  readonly raisedMs: number;
  text: string;
  damped = false;
  /** Set while it is gone and only held by the damping. */
  hold: { readonly goneMs: number; readonly cancel: Cancel } | undefined;

  constructor(name: string, text: string, raisedMs: number) {
    this.name = name;
    this.text = text;
    this.raisedMs = raisedMs;
  }

  get description(): string {
    return this.damped ? [this.text, DAMPED].filter((part) => part !== "").join("; ") : this.text;
  }
}

export class AlarmList extends EventEmitter<AlarmEvents> {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #raised = new Map<string, RaisedAlarm>();
  /** When each alarm was raised the last times. */
  readonly #raises = new Map<string, readonly number[]>();

  constructor(clock: Clock, log: Log) {
    super();
    this.#clock = clock;
    this.#log = log;
  }

  /** Those that are raised, in the order in which they were. */
  get current(): readonly Alarm[] {
    return [...this.#raised.values()];
  }

  /** Raises it, or changes its description. */
  raise(name: string, text: string): void {
    const known = this.#raised.get(name);
    if (known === undefined || known.hold !== undefined) this.#noteRaise(name);
    if (known === undefined) {
      const alarm = new RaisedAlarm(name, text, this.#clock.monotonic());
      this.#raised.set(name, alarm);
      this.emit("raised", alarm);
      return;
    }
    known.hold?.cancel();
    known.hold = undefined;
    this.#change(known, () => (known.text = text));
  }

  /** Clears it; one that is not raised stays so. */
  clear(name: string): void {
    const alarm = this.#raised.get(name);
    if (alarm === undefined || alarm.hold !== undefined) return;
    const goneMs = this.#clock.monotonic();
    if (!this.#comesAndGoes(name, goneMs)) {
      this.#end(alarm, goneMs);
      return;
    }
    if (!alarm.damped) this.#log.warn(`alarm ${name}: ${DAMPED}`);
    alarm.hold = { goneMs, cancel: this.#clock.after(QUIET_MS, () => this.#end(alarm, goneMs)) };
    this.#change(alarm, () => (alarm.damped = true));
  }

  /** Ends its timers. */
  stop(): void {
    for (const { hold } of this.#raised.values()) hold?.cancel();
  }

  #end({ name }: RaisedAlarm, goneMs: number): void {
    this.#raised.delete(name);
    this.emit("cleared", name, goneMs);
  }

  #change(alarm: RaisedAlarm, change: () => void): void {
    const before = alarm.description;
    change();
    if (alarm.description !== before) this.emit("changed", alarm);
  }

  #comesAndGoes(name: string, nowMs: number): boolean {
    const raises = this.#raises.get(name) ?? [];
    return raises.filter((raisedMs) => nowMs - raisedMs < WINDOW_MS).length >= MAX_RAISES;
  }

  #noteRaise(name: string): void {
    const raises = [...(this.#raises.get(name) ?? []), this.#clock.monotonic()];
    this.#raises.delete(name); // the newest is the last of the map
    this.#raises.set(name, raises.slice(-MAX_RAISES));
    const [oldest] = this.#raises.keys();
    if (this.#raises.size > MAX_REMEMBERED && oldest !== undefined) this.#raises.delete(oldest);
  }
}
