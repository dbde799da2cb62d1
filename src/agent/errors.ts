/**
 * Where the reported errors come from: defects of this agent, the crash of the one before, and what the kernel and the
 * watchdogs say about the last boot. Rule: an error of the reporting itself is only logged.
 */
import { freemem, uptime } from "node:os";
import { kernelCrashes, watchdogResets } from "../board/kernel-crash.ts";
import type { BootRecord } from "../care/boot-record.ts";
import { type CrashRecord, openCrashRecord, recordCrash } from "../care/crash-record.ts";
import type { Config } from "../config/schema.ts";
import { ErrorReports } from "../extensions/error-reports.ts";
import { describeError, onDefect } from "../platform/defects.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { World } from "../platform/world.ts";
import { BUILD_DATE_MS, VERSION } from "../version.ts";

export interface AgentErrorsOptions {
  readonly stateDir: string;
  readonly boot: Pick<BootRecord, "cause" | "isNewBoot">;
  readonly firmwareUuid: () => string | undefined;
  readonly world: World;
  readonly log: Log;
}

/** Scopes that are about reporting: each report would cause the next. */
const OWN_SCOPES = ["error_reports", "extensions"];

/** Collects the errors for the extension, as long as the agent runs. */
export class AgentErrors {
  readonly reports: ErrorReports;
  readonly #options: AgentErrorsOptions;
  #end = (): void => undefined;
  #record: CrashRecord | undefined;

  constructor(options: AgentErrorsOptions) {
    this.#options = options;
    const { firmwareUuid, world } = options;
    this.reports = new ErrorReports({ vitals, firmwareUuid, clock: world.clock });
  }

  /** Listens for defects, and reports what happened before this start. */
  async start(): Promise<void> {
    this.#end = onDefect((error, scope) => {
      if (OWN_SCOPES.includes(scope)) return;
      const { reason, message, frames } = describeError(error);
      this.reports.add({
        ...{ kind: "error", reason, message, source: "logger", frames },
        context: { scope },
      });
    });
    const { stateDir, log } = this.#options;
    try {
      const record = await openCrashRecord(stateDir, log);
      this.#record = record;
      this.#reportCrashes(record);
      await this.#reportResets(record);
    } catch (error) {
      log.warn(`what happened before this start can't be reported: ${messageOf(error)}`);
    }
  }

  /** Resolves when it is on the disk what the hub has got. */
  async stop(): Promise<void> {
    this.#end();
    await this.#record?.settled();
  }

  #reportCrashes(record: CrashRecord): void {
    for (const crash of record.unreported) {
      const { reason, message, frames, atMs, uptimeMs, firmwareUuid, agentVersion } = crash;
      const context = { agent: `hublink ${agentVersion}`, uptime_ms: String(uptimeMs) };
      this.reports.add(
        { ...{ kind: "crash", reason, message, frames, atMs, firmwareUuid, context }, source: "logger" },
        () => void record.crashReported(crash), // logs its own failures
      );
    }
  }

  async #reportResets(record: CrashRecord): Promise<void> {
    const { boot, world } = this.#options;
    for (const { id, kind, reason, message, frames, atMs } of await kernelCrashes(world)) {
      if (record.knows(id)) continue;
      // Before its clock is set, the kernel writes times of 1970.
      const at = atMs >= BUILD_DATE_MS ? { atMs } : {};
      this.reports.add(
        { ...{ kind, reason, message, frames, ...at }, source: "logger" },
        () => void record.kernelReported(id), // logs its own failures
      );
    }
    // A reset by a watchdog is also one of the agent's own ways to reboot.
    if (!boot.isNewBoot || boot.cause !== null) return;
    for (const name of await watchdogResets(world)) {
      this.reports.add({ kind: "watchdog", reason: `${name} reset the board`, source: "logger" });
    }
  }
}

function vitals(): Record<string, string> {
  return {
    uptime_ms: String(Math.round(uptime() * 1000)),
    free_memory_bytes: String(freemem()),
    agent: `hublink ${VERSION}`,
  };
}

/**
 * Writes an error down that ends this process, for the next agent to report. A Failure is none: its remedy is on stderr.
 * Never throws: the process has a better error to end with.
 * @param firmwareUuid of the running firmware
 */
export function noteCrash(
  error: unknown,
  { extensions, state }: Config,
  world: World,
  log: Log,
  firmwareUuid?: string,
): void {
  if (!extensions.errorReports || error instanceof Failure) return;
  try {
    recordCrash(error, {
      ...{ stateDir: state.dir, nowMs: world.clock.now(), uptimeMs: Math.round(uptime() * 1000) },
      ...{ firmwareUuid, agentVersion: VERSION },
    });
  } catch (problem) {
    log.error(`the crash can't be kept for the hub: ${messageOf(problem)}`);
  }
}
