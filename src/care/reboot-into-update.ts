import { sleep, type Clock } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { Application } from "../update/application.ts";
import type { FirmwareSummary } from "../control/messages.ts";

export interface RebootRequestOptions {
  /** `[app]` */
  readonly config: {
    readonly reboot: "immediate" | "ask" | "never";
    readonly maxDeferMs: number;
    readonly askTimeoutMs: number;
  };
  readonly application: Pick<Application, "mayReboot">;
  readonly reboot: (reason: string) => void;
  /** The reboot was put off to this time, ms since 1970. */
  readonly onDeferred: (untilMs: number) => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** A reboot that an installed update waits for. */
export interface PendingReboot {
  /** Wall-clock ms of the next question; null while it is asked, or when the reboot is left to others. */
  readonly deferredUntilMs: number | null;
}

/** The reboot into an installed update: when it comes is the application's to say, within bounds. */
export interface RebootRequest {
  readonly pending: PendingReboot | undefined;
  /** An update has just been installed. */
  slotReady(firmware: FirmwareSummary): void;
  /**
   * One was installed by an earlier agent in this boot.
   * @param installedAtMs wall-clock time, ms since 1970
   * @param holdMs the reboot, or the question for it, comes no sooner
   */
  resume(firmware: FirmwareSummary, installedAtMs: number, holdMs: number): void;
  stop(): Promise<void>;
}

export function createRebootRequest(options: RebootRequestOptions): RebootRequest {
  const { config, application, clock, log } = options;
  const stopping = new AbortController();
  const { signal } = stopping;
  const maxDeferMs = config.maxDeferMs;
  let pending: PendingReboot | undefined;
  let asking: Promise<void> | undefined;

  /** Resolves, with the reason, when the board may reboot. */
  const permission = async (firmware: FirmwareSummary, deadlineMs: number): Promise<string> => {
    for (;;) {
      pending = { deferredUntilMs: null };
      if (clock.monotonic() >= deadlineMs) {
        return `the update is installed, and its reboot was put off for ${config.maxDeferMs / 1000} s`;
      }
      const answer = await application.mayReboot(firmware, signal);
      if (answer.action === "reboot") return "the update is installed";
      const delayMs = Math.min(answer.delayMs, Math.max(0, deadlineMs - clock.monotonic()));
      const untilMs = clock.now() + delayMs;
      log.info(`the reboot is put off: ${answer.reason}`, { for_s: Math.round(delayMs / 1000) });
      pending = { deferredUntilMs: untilMs };
      options.onDeferred(untilMs);
      await sleep(clock, delayMs, signal);
    }
  };

  const run = async (firmware: FirmwareSummary, waitMs: number, deadlineMs: number): Promise<void> => {
    try {
      if (waitMs > 0) await sleep(clock, waitMs, signal);
      options.reboot(
        config.reboot === "ask" ? await permission(firmware, deadlineMs) : "the update is installed",
      );
    } catch (error) {
      if (!signal.aborted) log.error(`asking for the reboot: ${messageOf(error)}`);
    }
  };

  const begin = (firmware: FirmwareSummary, waitMs: number, spentMs: number): void => {
    switch (config.reboot) {
      case "never":
        pending = { deferredUntilMs: null };
        log.info("the update is installed; its reboot is left to the application and to people");
        break;
      case "immediate":
      case "ask":
        if (config.reboot === "ask" || waitMs > 0)
          pending = { deferredUntilMs: waitMs > 0 ? clock.now() + waitMs : null };
        asking ??= run(firmware, waitMs, clock.monotonic() + maxDeferMs - spentMs);
        break;
    }
  };

  return {
    get pending() {
      return pending;
    },
    slotReady: (firmware) => begin(firmware, 0, 0),
    resume(firmware, installedAtMs, holdMs) {
      // The application gets the time to come back that it has for an answer. A clock that was set back
      // in between starts the count anew; one that was set forward ends it early: either way it ends.
      const waitMs = config.reboot === "ask" ? Math.max(holdMs, config.askTimeoutMs) : holdMs;
      if (holdMs > 0) log.warn("the last reboot failed; the next one waits", { for_s: holdMs / 1000 });
      begin(firmware, waitMs, Math.max(0, clock.now() - installedAtMs));
    },
    async stop() {
      stopping.abort(new Error("the agent stops"));
      await asking;
    },
  };
}
