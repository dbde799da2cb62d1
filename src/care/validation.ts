/**
 * The trial of new firmware: it is marked good when the hub was joined and `validation.command` succeeds, or when
 * somebody who knows says so. Otherwise the board reboots at the deadline, so that its boot loader falls back:
 * firmware that can't reach its hub could not be repaired from there.
 */
import { EventEmitter } from "node:events";
import type { Config } from "../config/schema.ts";
import { type Cancel, sleep, unlessAborted, within } from "../platform/clock.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { World } from "../platform/world.ts";

export interface ValidationEvents {
  /** The running slot has been marked good. */
  validated: [];
  /** The deadline passed: the board must reboot. */
  expired: [];
}

/** The part of BoardFirmware that a trial is about. */
export interface FirmwareOnTrial {
  readonly running: { readonly validated: boolean; readonly rebootPending: boolean } | undefined;
  /** The slot is to be rebooted out of anyway, into an update. */
  readonly rebootOwed: boolean;
  /** Reads again how the slots stand. */
  refresh(): Promise<void>;
  /** Marks the running slot good on the disk. @throws Failure */
  validate(): Promise<void>;
}

/** The part of BootRecord that knows the age of a trial. */
export interface TrialRecord {
  /** How long the firmware has been on trial, in ms, over all starts of the agent; the first call begins it. */
  trialMs(): Promise<number>;
  trialEnded(): Promise<void>;
}

/** Time between two runs of a command that has not succeeded. */
const RETRY_MS = 10_000;
const COMMAND_TIMEOUT_MS = 60_000;
/** A disk that hangs must not hold up the reboot out of bad firmware. */
const LOOK_TIMEOUT_MS = 10_000;

export class Validation extends EventEmitter<ValidationEvents> {
  readonly #config: Config["validation"];
  readonly #firmware: FirmwareOnTrial;
  readonly #record: TrialRecord;
  readonly #world: World;
  readonly #log: Log;
  /** Aborted when the slot is marked good, or the agent stops. */
  readonly #end = new AbortController();
  /** Undefined until it is known which firmware runs. */
  #pending: boolean | undefined;
  #started = false;
  #proving: Promise<void> | undefined;
  /** The last reading of the slots. */
  #looking: Promise<void> | undefined;
  /** When the deadline passed, on the monotonic clock. */
  #expiredMs: number | undefined;
  #cancelDeadline: Cancel = () => undefined;

  constructor(
    config: Config["validation"],
    { firmware, record }: { readonly firmware: FirmwareOnTrial; readonly record: TrialRecord },
    world: World,
    log: Log,
  ) {
    super();
    this.#config = config;
    this.#firmware = firmware;
    this.#record = record;
    this.#world = world;
    this.#log = log;
    this.#pending = this.#onTrial();
  }

  /** Whether the running slot still has to be proven good. */
  get pending(): boolean {
    return this.#pending === true;
  }

  /** Time since the deadline passed, ms; undefined when it has not. */
  get expiredForMs(): number | undefined {
    return this.#expiredMs === undefined ? undefined : this.#world.clock.monotonic() - this.#expiredMs;
  }

  /** Sets the deadline: what is left of it, when the agent was restarted during the trial. */
  async start(): Promise<void> {
    this.#started = true;
    if (this.#pending !== true) return;
    const { mode, deadlineMs } = this.#config;
    const trialMs = await within(this.#world.clock, LOOK_TIMEOUT_MS, this.#record.trialMs(), 0);
    if (this.#end.signal.aborted) return;
    const since = trialMs === 0 ? {} : { on_trial_s: Math.round(trialMs / 1000) };
    this.#log.info("the running firmware is not marked good yet", {
      ...{ mode, deadline_s: deadlineMs / 1000 },
      ...since,
    });
    this.#cancelDeadline = this.#world.clock.after(Math.max(0, deadlineMs - trialMs), () => {
      this.#looking = this.#look(() => this.#expire());
    });
  }

  /**
   * Reads the slots again. Others mark firmware good too: the boot script, fw_setenv, fwup. A board that goes by
   * what it read at its start would be rebooted at the deadline although all is well.
   */
  async refresh(): Promise<void> {
    await this.#firmware.refresh();
    if (this.#end.signal.aborted) return;
    const onTrial = this.#onTrial();
    if (this.#pending === undefined && onTrial !== undefined) {
      this.#pending = onTrial;
      if (this.#started) await this.start();
    } else if (
      this.#pending === true &&
      onTrial === false &&
      this.#firmware.running?.rebootPending === false
    ) {
      await this.#succeed("somebody else marked the running firmware good");
    }
  }

  /** The hub was joined: in mode `auto` the slot is good if the command says so too. */
  joined(): void {
    this.#looking = this.#look(() => {
      if (this.#pending === true && this.#config.mode === "auto") this.#proving ??= this.#prove();
    });
  }

  /**
   * Marks the slot good; does nothing when it is already.
   * @throws Failure when the disk can't be written
   */
  async markValid(): Promise<void> {
    if (this.#pending !== true) return;
    await this.#firmware.validate();
    await this.#succeed("the running firmware is marked good");
  }

  async stop(): Promise<void> {
    this.#cancelDeadline();
    this.#end.abort(new Failure("stopped", "the agent stops"));
    await this.#looking;
    await this.#proving;
  }

  /** Reads the slots again, and goes on with `then` unless the trial has ended. */
  async #look(then: () => void): Promise<void> {
    const { signal } = this.#end;
    try {
      await within(this.#world.clock, LOOK_TIMEOUT_MS, unlessAborted(this.refresh(), signal), undefined);
    } catch (error) {
      if (signal.aborted) return;
      this.#log.error(`the slots can't be read: ${messageOf(error)}`);
    }
    if (!signal.aborted) then();
  }

  /** Undefined when it is not known which firmware runs. */
  #onTrial(): boolean | undefined {
    const { running, rebootOwed } = this.#firmware;
    if (running === undefined) return undefined;
    return !running.validated && !rebootOwed;
  }

  async #succeed(text: string): Promise<void> {
    this.#pending = false;
    this.#expiredMs = undefined;
    this.#cancelDeadline();
    this.#end.abort(new Error("validated"));
    this.#log.info(text);
    this.emit("validated");
    await this.#record.trialEnded();
  }

  #expire(): void {
    if (this.#pending !== true) return;
    const { deadlineMs } = this.#config;
    this.#log.error("the running firmware was not marked good in time", { deadline_s: deadlineMs / 1000 });
    this.#expiredMs = this.#world.clock.monotonic();
    this.emit("expired");
  }

  async #prove(): Promise<void> {
    const { signal } = this.#end;
    while (!signal.aborted) {
      try {
        if (await this.#commandSucceeds()) {
          await this.markValid();
          return;
        }
      } catch (error) {
        this.#log.error(`validating the running firmware failed: ${messageOf(error)}`);
      }
      await sleep(this.#world.clock, RETRY_MS, signal).catch(() => undefined); // ended: the loop sees it
    }
  }

  async #commandSucceeds(): Promise<boolean> {
    const { command } = this.#config;
    if (command === "") return true;
    const { clock, run } = this.#world;
    const result = await run(command, { clock, timeoutMs: COMMAND_TIMEOUT_MS, signal: this.#end.signal });
    if (result.exitCode === 0) return true;
    this.#log.warn("validation.command says that the firmware is not good yet", {
      exit: result.exitCode,
      output: (result.stderr || result.stdout).trim().slice(0, 200),
    });
    return false;
  }
}
