/**
 * The words of NervesHub's first protocol, as its page phoenix-channel.md lists them. Servers of that age crash a
 * device's channel on an event they do not know, so a message without a word here is not sent at all.
 */
import type { DeviceMessage, UpdateStatus } from "./device-messages.ts";

/** The state of an update, in the page's words. */
export type SeedStatus = "idle" | "fwup_error" | "update_failed" | "update_rescheduled" | "unknown";

/** What the page lets a device send. */
export type SeedMessage =
  | { readonly event: "rebooting"; readonly payload: Readonly<Record<string, never>> }
  | { readonly event: "fwup_progress"; readonly payload: { readonly value: number } }
  /** The page's table calls the key `status`, its example `state`: servers of that age looked at `status`. */
  | { readonly event: "status_update"; readonly payload: { readonly status: SeedStatus } };

/** The message in the page's words; undefined when it has none for it. */
export function inSeedDialect(message: DeviceMessage): SeedMessage | undefined {
  switch (message.event) {
    case "rebooting":
      return { event: "rebooting", payload: {} };
    case "fwup_progress":
      return { event: "fwup_progress", payload: { value: message.payload.value } };
    case "status_update":
      return { event: "status_update", payload: { status: seedStatus(message.payload) } };
    case "firmware_validated":
    case "report_network_interface":
    case "scripts/run":
      return undefined; // an event that a server does not know crashes its channel
  }
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
