/** Updates that the device asks for, on the stand-in hub (device API 2.4.0, protocol §7.2). */
import { isMap } from "../crash.ts";
import { isDue } from "../deployments.ts";
import type { DeviceRecord } from "../device-record.ts";
import type { ChannelContext } from "./channel.ts";

/** Whether the hub sends updates by itself. */
export function pushesUpdates({ managed }: DeviceRecord): boolean {
  return managed.mode === "automatic";
}

/** The payload of `update_mode`. */
export function updateMode({ managed }: DeviceRecord): unknown {
  return { mode: managed.mode, managed_updates_allowed: managed.allowed };
}

/** Answers `check_update`, `request_update` and `set_update_mode`. */
export function handleManaged(context: ChannelContext, event: string, payload: unknown): void {
  switch (event) {
    case "check_update":
      check(context);
      break;
    case "request_update":
      request(context);
      break;
    default:
      setMode(context, isMap(payload) ? payload["mode"] : undefined);
  }
}

function check(context: ChannelContext): void {
  const { hub, record } = context;
  const deployment = hub.deploymentFor(record);
  const available = deployment !== undefined && isDue(deployment, record, hub.nowMs());
  context.broadcast("update_available", {
    available,
    firmware_meta: available ? deployment.release.meta : {},
  });
}

function request(context: ChannelContext): void {
  const { hub, record } = context;
  const { mode, busyMinutes } = record.managed;
  const again = hub.sendAgain(record);
  const deployment = hub.deploymentFor(record);
  if (mode === "off") context.broadcast("update_rejected", { reason: "updates_disabled" });
  else if (busyMinutes !== undefined)
    context.broadcast("update_rejected", { reason: "busy", delay_for: busyMinutes });
  else if (again !== undefined) context.broadcast("update", again);
  else if (deployment !== undefined && isDue(deployment, record, hub.nowMs())) {
    context.broadcast("update", hub.startUpdate(record, deployment));
  } else context.broadcast("update_rejected", { reason: "no_update" });
}

/** The answer says which mode holds, also when the device's was refused. */
function setMode(context: ChannelContext, mode: unknown): void {
  const { record } = context;
  const { managed } = record;
  const may =
    managed.mode !== "off" && (mode === "automatic" || (mode === "device_managed" && managed.allowed));
  if (may) record.managed = { ...managed, mode };
  context.broadcast("update_mode", updateMode(record));
}
