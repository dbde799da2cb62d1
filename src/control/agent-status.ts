/** What the agent reports of itself: the answer to `status` on the control socket. */
import * as v from "valibot";

export const FirmwareSummary = v.object({
  uuid: v.string(),
  version: v.string(),
  product: v.string(),
  platform: v.string(),
  architecture: v.string(),
});
export type FirmwareSummary = v.InferOutput<typeof FirmwareSummary>;

/** The five fields of the protocol; those that the firmware's metadata lacks are empty. */
export function summaryOf(firmware: {
  readonly [key in keyof FirmwareSummary]?: string | undefined;
}): FirmwareSummary {
  const { uuid = "", version = "", product = "", platform = "", architecture = "" } = firmware;
  return { uuid, version, product, platform, architecture };
}

/** The answer to `status`; the first six fields are the protocol's own. */
export const AgentStatus = v.object({
  connection: v.picklist(["connected", "connecting", "disconnected"]),
  identifier: v.string(),
  update_tool: v.string(),
  firmware: v.nullable(FirmwareSummary),
  update: v.nullable(
    v.object({
      uuid: v.string(),
      stage: v.string(),
      percent: v.number(),
      /** Why its download waits, and for how long no byte has come; null while bytes come. */
      waiting: v.optional(v.nullable(v.object({ reason: v.string(), for_s: v.number() })), null),
    }),
  ),
  /** Who starts updates, as the hub said last; null for hubs before device API 2.4.0. */
  update_mode: v.optional(
    v.nullable(
      v.object({
        mode: v.picklist(["automatic", "device_managed", "off"]),
        managed_updates_allowed: v.boolean(),
      }),
    ),
    null,
  ),
  pending_validation: v.boolean(),
  /** An installed update waits for its reboot; `deferred_until_ms` is null when the reboot is left to others. */
  pending_reboot: v.optional(v.nullable(v.object({ deferred_until_ms: v.nullable(v.number()) })), null),
  agent_version: v.string(),
  /** The hub's host, without credentials. */
  hub: v.string(),
  /** The encoding of messages to the hub. */
  serializer: v.picklist(["json", "msgpack"]),
  joined: v.boolean(),
  /** Names of the extensions attached now. */
  extensions: v.array(v.string()),
  /**
   * All extensions: `off` here, `off_at_hub`, `waiting` for the hub, `attached`, or `detached` by the hub or by an
   * error; with the version that was agreed on.
   */
  extension_states: v.optional(
    v.array(
      v.object({
        name: v.string(),
        state: v.picklist(["off", "waiting", "off_at_hub", "attached", "detached"]),
        version: v.nullable(v.string()),
      }),
    ),
    [],
  ),
  last_error: v.nullable(v.string()),
  next_attempt_s: v.nullable(v.number()),
  /** How long the hub has been away, or the agent has looked for it; null while connected. */
  away_s: v.optional(v.nullable(v.number()), null),
  identity: v.object({
    source: v.string(),
    /** Reasons why the board may lose its hub soon, such as a certificate that expires. */
    warnings: v.array(v.string()),
    certificate: v.nullable(
      v.object({ subject: v.string(), not_before: v.string(), not_after: v.string(), sha256: v.string() }),
    ),
  }),
  slot: v.nullable(v.string()),
  /** The slot that boots next, by the boot loader's variables; null where nothing says which. */
  boots_next: v.optional(v.nullable(v.string()), null),
  /** The firmware in the other slot, or that was there when it failed; null without one. */
  other_firmware: v.optional(v.nullable(FirmwareSummary), null),
  /** The reboot under way, and the method that is tried now; `failed` when every method was, in vain. */
  rebooting: v.optional(
    v.nullable(v.object({ reason: v.string(), method: v.nullable(v.string()), failed: v.boolean() })),
    null,
  ),
  devpath: v.string(),
  fwup_version: v.nullable(v.string()),
  auto_revert_detected: v.boolean(),
  /** The update that was offered last; `failure` is the code of what failed, as docs/errors.md lists them. */
  last_update: v.nullable(
    v.object({
      uuid: v.string(),
      status: v.string(),
      reason: v.nullable(v.string()),
      failure: v.optional(v.nullable(v.string()), null),
    }),
  ),
  watchdogs: v.array(v.string()),
  /** Why they are not fed, so that they reset the board. */
  watchdogs_starving: v.nullable(v.string()),
  /** The agent's reboot that led to this boot; null when it had another cause. */
  last_reboot: v.nullable(v.object({ reason: v.string(), method: v.nullable(v.string()), at: v.string() })),
  uptime_s: v.number(),
  rss_mib: v.number(),
  /** Null when it is not enabled. */
  console: v.nullable(v.object({ joined: v.boolean(), shell_running: v.boolean() })),
  /** The one that the hub sent last; null when there was none. */
  archive: v.optional(
    v.nullable(
      v.object({
        uuid: v.string(),
        version: v.nullable(v.string()),
        state: v.picklist(["waiting", "fetching", "ready", "failed"]),
        reason: v.nullable(v.string()),
      }),
    ),
    null,
  ),
});
export type AgentStatus = v.InferOutput<typeof AgentStatus>;
