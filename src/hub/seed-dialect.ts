/**
 * The board's messages in the words of NervesHub's first protocol (its page phoenix-channel.md), for servers of that
 * age.
 */
import type { DeviceMessage, UpdateStatus } from "./device-messages.ts";

/** A server's own words for what a board reports. */
export interface Dialect<M> {
  /** Undefined for what the server has no word for: it is not sent. */
  translate(message: DeviceMessage): M | undefined;
  /** Is sent after each join while no update is under way. */
  readonly idle: M;
}

/** The state of an update in NervesHub's first protocol, in the words of its page phoenix-channel.md. */
export type SeedStatus = "idle" | "fwup_error" | "update_failed" | "update_rescheduled" | "unknown";

/** The messages that the page lets a device send. */
export type SeedMessage =
  | { readonly event: "rebooting"; readonly payload: Readonly<Record<string, never>> }
  | { readonly event: "fwup_progress"; readonly payload: { readonly value: number } }
  /** The page's table calls the key `status`, its example `state`: both are sent. */
  | { readonly event: "status_update"; readonly payload: SeedPayload };

interface SeedPayload {
  readonly status: SeedStatus;
  readonly state: SeedStatus;
}

/**
 * The message in the words of NervesHub's first protocol. Undefined when that has none for it: servers of that age
 * crash a device's channel on an event they do not know, so such a message is not sent at all.
 */
function inSeedDialect(message: DeviceMessage): SeedMessage | undefined {
  switch (message.event) {
    case "rebooting":
      return { event: "rebooting", payload: {} };
    case "fwup_progress":
      return { event: "fwup_progress", payload: { value: message.payload.value } };
    case "status_update":
      return seedUpdate(seedStatus(message.payload));
    case "firmware_validated":
    case "report_network_interface":
    case "scripts/run":
    case "check_update":
    case "request_update":
    case "set_update_mode":
      return undefined; // an event that a server does not know crashes its channel
  }
}

/** The words of NervesHub's first protocol; `idle` is "waiting for an update". */
export const seedDialect: Dialect<SeedMessage> = { translate: inSeedDialect, idle: seedUpdate("idle") };

function seedUpdate(status: SeedStatus): SeedMessage {
  return { event: "status_update", payload: { status, state: status } };
}

function seedStatus(update: UpdateStatus): SeedStatus {
  switch (update.status) {
    case "received":
    case "started":
      return "unknown"; // "generic status for unhandled states": fwup_progress says more
    case "completed":
    case "ignored":
      return "idle"; // "waiting for an update"
    case "rescheduled":
      return "update_rescheduled";
    case "failed":
      return /^fwup\b/.test(update.reason) ? "fwup_error" : "update_failed";
  }
}
