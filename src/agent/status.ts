/**
 * The status that `hublink status` and the control socket show, put together at the moment it is asked for.
 * Rule: no secret, no signed URL.
 */
import type { BootRecord } from "../care/boot-record.ts";
import type { RebootIntoUpdate } from "../care/reboot-into-update.ts";
import type { Rebooter } from "../care/rebooter.ts";
import type { Validation } from "../care/validation.ts";
import type { Watchdogs } from "../care/watchdogs.ts";
import type { Config } from "../config/schema.ts";
import { type AgentStatus, summaryOf } from "../control/agent-status.ts";
import type { ExtensionState } from "../extensions/negotiation.ts";
import type { BoardFirmware } from "../firmware/board-firmware.ts";
import type { DeviceTopic } from "../hub/device-topic.ts";
import type { HubLink } from "../hub/link.ts";
import type { Identity } from "../identity/identity.ts";
import type { World } from "../platform/world.ts";
import type { ConsoleTopic } from "../remote/console.ts";
import type { Archives } from "../update/archives.ts";
import type { HubUpdates } from "../update/hub-updates.ts";
import type { UpdateReport } from "../update/report.ts";
import type { Updater, UpdaterStatus } from "../update/updater.ts";
import { VERSION } from "../version.ts";
import { allExtensionStates } from "./extensions.ts";

/** The parts that the status is read from. */
export interface StatusSources {
  readonly config: Config;
  readonly identity: Identity;
  readonly firmware: BoardFirmware;
  /** Undefined without a usable fwup. */
  readonly fwup: string | undefined;
  readonly boot: BootRecord;
  readonly link: HubLink;
  readonly device: DeviceTopic;
  readonly updater: Updater;
  readonly report: UpdateReport;
  readonly hubUpdates: Pick<HubUpdates, "mode">;
  readonly validation: Validation;
  readonly rebootIntoUpdate: RebootIntoUpdate;
  readonly rebooter: Rebooter;
  readonly watchdogs: Watchdogs;
  /** Undefined when it is not enabled. */
  readonly console: ConsoleTopic | undefined;
  /** Undefined when they are not enabled. */
  readonly archives: Archives | undefined;
  readonly world: World;
  /** Monotonic. */
  readonly startedMs: number;
}

/** @param extensions those that the configuration turns on */
export function agentStatus(sources: StatusSources, extensions: readonly ExtensionState[]): AgentStatus {
  const { config, firmware, identity, device, validation, rebootIntoUpdate, watchdogs, world } = sources;
  const { status: link } = sources.link;
  const { status: update } = sources.updater;
  const { pending: pendingReboot } = rebootIntoUpdate;
  const { certificate, source, warnings } = identity.describe();
  return {
    connection: link.connection,
    identifier: identity.identifier,
    update_tool: "fwup",
    firmware: firmware.running === undefined ? null : summaryOf(firmware.running),
    update:
      update.state === "idle" || update.state === "installed" // then it is the last one
        ? null
        : {
            uuid: update.uuid ?? "",
            stage: stageOf(update),
            percent: update.percent,
            waiting: waitOf(update, world),
          },
    update_mode: sources.hubUpdates.mode ?? null,
    pending_validation: validation.pending,
    pending_reboot: pendingReboot === undefined ? null : { deferred_until_ms: pendingReboot.deferredUntilMs },
    agent_version: VERSION,
    hub: new URL(config.hub.url).host,
    serializer: link.serializer,
    joined: device.joined,
    extensions: extensions.filter(({ state }) => state === "attached").map(({ name }) => name),
    extension_states: allExtensionStates(extensions),
    last_error: link.lastError ?? firmware.problem?.message ?? null,
    next_attempt_s:
      link.nextAttemptMs === undefined
        ? null
        : Math.max(0, Math.round((link.nextAttemptMs - world.clock.now()) / 1000)),
    away_s:
      link.awaySinceMs === undefined ? null : Math.round((world.clock.monotonic() - link.awaySinceMs) / 1000),
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
    boots_next: firmware.running?.active ?? null,
    other_firmware: otherFirmware(firmware),
    rebooting: sources.rebooter.current,
    devpath: firmware.devpath,
    fwup_version: sources.fwup ?? null,
    auto_revert_detected: firmware.fellBack,
    last_update: sources.report.last,
    watchdogs: [...watchdogs.names],
    watchdogs_starving: watchdogs.starving ?? null,
    last_reboot: sources.boot.cause,
    uptime_s: Math.round((world.clock.monotonic() - sources.startedMs) / 1000),
    console:
      sources.console === undefined
        ? null
        : { joined: sources.console.joined, shell_running: sources.console.running },
    archive: sources.archives?.last ?? null,
    rss_mib: Math.round(process.memoryUsage.rss() / 1024 / 1024),
  };
}

/** Null also for a slot that is empty, or whose description was made invalid. */
function otherFirmware({ running }: BoardFirmware): AgentStatus["other_firmware"] {
  if (running?.other === undefined) return null;
  const { uuid, version } = running.other;
  return uuid === undefined && version === undefined ? null : summaryOf(running.other);
}

function waitOf({ waiting }: UpdaterStatus, { clock }: World): NonNullable<AgentStatus["update"]>["waiting"] {
  if (waiting === undefined) return null;
  return { reason: waiting.reason, for_s: Math.round((clock.monotonic() - waiting.sinceMs) / 1000) };
}

/** The protocol knows two stages; what comes before the first byte is written counts as the first. */
function stageOf({ state }: UpdaterStatus): string {
  return state === "writing" || state === "finishing" ? "updating" : "downloading";
}
