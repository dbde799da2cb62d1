import type { Config } from "../config/schema.ts";
import type { BoardFirmware } from "../firmware/board-firmware.ts";
import type { UpdaterStatus } from "../update/updater.ts";
import type { LinkStatus } from "../hub/link.ts";
import type { Identity } from "../identity/identity.ts";
import { VERSION } from "../version.ts";
import type { Archives } from "../update/archives.ts";
import type { ConsoleTopic } from "../remote/console.ts";
import type { Watchdogs } from "../care/watchdogs.ts";
import { summaryOf, type AgentStatus } from "../control/messages.ts";
import type { PendingReboot } from "../care/reboot-into-update.ts";

export interface StatusSources {
  readonly config: Config;
  readonly identity: Identity;
  readonly firmware: BoardFirmware;
  readonly fwupVersion: string | undefined;
  readonly link: LinkStatus;
  readonly joined: boolean;
  /** Names of those attached. */
  readonly extensions: readonly string[];
  readonly update: UpdaterStatus;
  readonly lastUpdate: AgentStatus["last_update"];
  readonly pendingValidation: boolean;
  readonly console: ConsoleTopic | undefined;
  readonly archives: Archives | undefined;
  readonly watchdogs: Pick<Watchdogs, "names" | "starving">;
  readonly lastReboot: AgentStatus["last_reboot"];
  readonly pendingReboot: PendingReboot | undefined;
  readonly nowMs: number;
  readonly uptimeMs: number;
}

/** Everything `hublink status` shows; no secret, no signed URL. */
export function agentStatus(sources: StatusSources): AgentStatus {
  const { link, firmware, update, identity } = sources;
  const { certificate, source, warnings } = identity.describe();
  return {
    connection: link.connection,
    identifier: identity.identifier,
    update_tool: "fwup",
    firmware: firmware.running === undefined ? null : summaryOf(firmware.running),
    update:
      update.state === "idle" || update.state === "installed" // then it is the last one
        ? null
        : { uuid: update.uuid ?? "", stage: stageOf(update), percent: update.percent },
    pending_validation: sources.pendingValidation,
    pending_reboot:
      sources.pendingReboot === undefined
        ? null
        : { deferred_until_ms: sources.pendingReboot.deferredUntilMs },
    agent_version: VERSION,
    hub: new URL(sources.config.hub.url).host,
    serializer: link.serializer,
    joined: sources.joined,
    extensions: [...sources.extensions],
    last_error: link.lastError ?? firmware.problem?.message ?? null,
    next_attempt_s:
      link.nextAttemptMs === undefined
        ? null
        : Math.max(0, Math.round((link.nextAttemptMs - sources.nowMs) / 1000)),
    identity: {
      source,
      warnings: [...warnings],
      certificate: certificate
        ? {
            subject: certificate.subject,
            not_before: certificate.notBefore.toISOString(),
            not_after: certificate.notAfter.toISOString(),
            sha256: certificate.sha256,
          }
        : null,
    },
    slot: firmware.running?.slot || null,
    devpath: firmware.devpath,
    fwup_version: sources.fwupVersion ?? null,
    auto_revert_detected: firmware.fellBack,
    last_update: sources.lastUpdate,
    watchdogs: [...sources.watchdogs.names],
    watchdogs_starving: sources.watchdogs.starving ?? null,
    last_reboot: sources.lastReboot,
    uptime_s: Math.round(sources.uptimeMs / 1000),
    console:
      sources.console === undefined
        ? null
        : { joined: sources.console.joined, shell_running: sources.console.running },
    archive: sources.archives?.last ?? null,
    rss_mib: Math.round(process.memoryUsage.rss() / 1024 / 1024),
  };
}

/** The protocol knows two stages; what comes before the first byte is written counts as the first. */
function stageOf({ state }: UpdaterStatus): string {
  return state === "writing" || state === "finishing" ? "updating" : "downloading";
}
