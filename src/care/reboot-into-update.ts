/**
 * The reboot into an installed update. The application may put it off ([app].reboot), but not for longer than
 * `app.max_defer_s` in all, also across restarts of the agent: an application that never agrees would keep the
 * board on its old firmware.
 */
import { EventEmitter } from "node:events";
import type { Config } from "../config/schema.ts";
import type { FirmwareSummary } from "../control/agent-status.ts";
import { type Clock, sleep } from "../platform/clock.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { Application } from "../update/application.ts";

export interface RebootIntoUpdateEvents {
  /** The board may reboot now. */
  due: [reason: string];
  /** The reboot was put off to this wall-clock time, ms since 1970. */
  deferred: [untilMs: number];
}

export interface RebootIntoUpdateOptions {
  readonly config: Config["app"];
  readonly application: Pick<Application, "mayReboot">;
  readonly clock: Clock;
  readonly log: Log;
}

/** A reboot that an installed update waits for. */
export interface PendingReboot {
  /** Wall-clock ms of the next question; null while it is asked, or when the reboot is left to others. */
  readonly deferredUntilMs: number | null;
}

export class RebootIntoUpdate extends EventEmitter<RebootIntoUpdateEvents> {
  readonly #config: Config["app"];
  readonly #application: Pick<Application, "mayReboot">;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #stop = new AbortController();
  #pending: PendingReboot | undefined;
  #asking: Promise<void> | undefined;

  constructor({ config, application, clock, log }: RebootIntoUpdateOptions) {
    super();
    this.#config = config;
    this.#application = application;
    this.#clock = clock;
    this.#log = log;
  }

  /** Undefined when no reboot is owed. */
  get pending(): PendingReboot | undefined {
    return this.#pending;
  }

  /** An update has just been installed. */
  begin(firmware: FirmwareSummary): void {
    this.#begin(firmware, 0, 0);
  }

  /**
   * An earlier agent installed an update in this boot.
   * @param installedAtMs wall-clock time, ms since 1970
   * @param holdMs the reboot, or the question for it, comes no sooner
   */
  resume(firmware: FirmwareSummary, installedAtMs: number, holdMs: number): void {
    const { reboot, askTimeoutMs } = this.#config;
    // A restarted application gets as much time to come back as it has for an answer.
    const waitMs = reboot === "ask" ? Math.max(holdMs, askTimeoutMs) : holdMs;
    if (holdMs > 0) this.#log.warn("the last reboot failed; the next one waits", { for_s: holdMs / 1000 });
    // A clock that was set back starts the count again, and one that was set forward ends it early: it ends.
    this.#begin(firmware, waitMs, Math.max(0, this.#clock.now() - installedAtMs));
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Failure("stopped", "the agent stops"));
    await this.#asking;
  }

  /** @param spentMs part of `max_defer_s` that is over already */
  #begin(firmware: FirmwareSummary, waitMs: number, spentMs: number): void {
    const { reboot, maxDeferMs } = this.#config;
    switch (reboot) {
      case "never":
        this.#pending = { deferredUntilMs: null };
        this.#log.info("the update is installed; its reboot is left to the application and to people");
        break;
      case "immediate":
      case "ask":
        if (reboot === "ask" || waitMs > 0)
          this.#pending = { deferredUntilMs: waitMs > 0 ? this.#clock.now() + waitMs : null };
        this.#asking ??= this.#run(firmware, waitMs, this.#clock.monotonic() + maxDeferMs - spentMs);
        break;
    }
  }

  async #run(firmware: FirmwareSummary, waitMs: number, deadlineMs: number): Promise<void> {
    try {
      if (waitMs > 0) await sleep(this.#clock, waitMs, this.#stop.signal);
      const ask = this.#config.reboot === "ask";
      this.emit("due", ask ? await this.#permission(firmware, deadlineMs) : "the update is installed");
    } catch (error) {
      if (!this.#stop.signal.aborted) this.#log.error(`asking for the reboot: ${messageOf(error)}`);
    }
  }

  /** Resolves, with the reason, when the board may reboot. */
  async #permission(firmware: FirmwareSummary, deadlineMs: number): Promise<string> {
    const clock = this.#clock;
    const { signal } = this.#stop;
    for (;;) {
      this.#pending = { deferredUntilMs: null };
      if (clock.monotonic() >= deadlineMs) {
        const seconds = this.#config.maxDeferMs / 1000;
        return `the update is installed, and its reboot was put off for ${seconds} s`;
      }
      const answer = await this.#application.mayReboot(firmware, signal);
      if (answer.action === "reboot") return "the update is installed";
      const delayMs = Math.min(answer.delayMs, Math.max(0, deadlineMs - clock.monotonic()));
      const untilMs = clock.now() + delayMs;
      this.#log.info(`the reboot is put off: ${answer.reason}`, { for_s: Math.round(delayMs / 1000) });
      this.#pending = { deferredUntilMs: untilMs };
      this.emit("deferred", untilMs);
      await sleep(clock, delayMs, signal);
    }
  }
}
