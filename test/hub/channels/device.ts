/**
 * The main topic of a device on the stand-in hub: its join, its reports, and the update, archive and script
 * that follow a join. A message that kills the real server's process is a ChannelCrash here.
 */
import gte from "semver/functions/gte.js";
import valid from "semver/functions/valid.js";
import { crash, isMap } from "../crash.ts";
import { inPenalty, isDue } from "../deployments.ts";
import type { DeviceRecord, FirmwareMetadata } from "../device-record.ts";
import { applyProgress, applyStatus } from "../update-status.ts";
import type { Channel, ChannelContext } from "./channel.ts";
import { handleManaged, pushesUpdates, updateMode } from "./managed-updates.ts";

const REQUIRED = ["uuid", "product", "architecture", "version", "platform"];
const OLDEST_API = "1.0.0";

/** A device joins its main topic. @throws ChannelCrash when the join itself dies */
export function joinDevice(context: ChannelContext, params: unknown): Channel {
  const { record, hub } = context;
  if (!isMap(params)) crash("join parameters that are not a map");
  const api = apiVersion(params);
  const meta = validation(params);
  record.joins.push(params);
  record.validated = meta.validated;
  record.autoRevertDetected = meta.autoRevertDetected;
  recordFirmware(record, params);
  const downloading = params["currently_downloading_uuid"];
  if (typeof downloading !== "string" || downloading === "") record.inFlight = undefined;
  const deployment = hub.deploymentFor(record);
  const due = deployment !== undefined && pushesUpdates(record) && isDue(deployment, record, hub.nowMs());
  const manages = hub.api === "2.4" && gte(api, "2.4.0");

  return {
    response: due && deployment.inJoinReply ? hub.startUpdate(record, deployment) : {},
    afterJoin() {
      if (manages) context.broadcast("update_mode", updateMode(record));
      for (const kind of ["fwup_public_keys", "archive_public_keys"]) {
        if (params[kind] === "on_connect" && hub.publicKeys.length > 0) {
          context.broadcast(kind, { keys: hub.publicKeys });
        }
      }
      const blocked = inPenalty(record, hub.nowMs());
      if (deployment?.archive !== undefined && !blocked && gte(api, "2.0.0")) {
        context.broadcast("archive", hub.archivePayload(deployment));
      }
      if (gte(api, "2.2.0")) {
        context.broadcast(
          "extensions:get",
          hub.api === "2.3" ? {} : { extensions: Object.fromEntries(hub.extensions) },
        );
      }
      if (deployment?.connectingCode !== undefined && gte(api, "2.1.0")) {
        context.push("scripts/run", { text: deployment.connectingCode, ref: "connecting_code" });
      }
      if (due && !deployment.inJoinReply) {
        context.broadcast("update", hub.startUpdate(record, deployment));
      }
    },
    /** Pushes on this topic never get a reply. */
    handle(event, payload) {
      switch (event) {
        case "status_update":
          applyStatus(record, payload, hub.nowMs());
          break;
        case "fwup_progress":
        case "update_progress":
          if (isMap(payload) && "value" in payload) applyProgress(record, payload, hub.nowMs());
          break;
        case "firmware_validated":
          record.validated = "validated";
          break;
        case "connection_types":
          if (isMap(payload) && "values" in payload) record.connectionTypes = payload["values"];
          break;
        case "report_network_interface":
          if (isMap(payload) && "interface" in payload) reportInterface(record, payload["interface"]);
          break;
        case "check_update":
        case "request_update":
        case "set_update_mode":
          if (manages) handleManaged(context, event, payload);
          break;
        case "scripts/run":
          if (!isMap(payload) && payload !== null) crash("scripts/run without a map");
          break;
        default: // "rebooting" and all that NervesHub does not know
          break;
      }
      return undefined;
    },
    close: () => undefined,
  };
}

function apiVersion(params: Readonly<Record<string, unknown>>): string {
  if (!("device_api_version" in params)) return OLDEST_API;
  const version = params["device_api_version"];
  if (typeof version !== "string") crash("a device_api_version that is not a string");
  return version.startsWith("v") ? OLDEST_API : (valid(version) ?? OLDEST_API); // Elixir takes no v
}

function validation(
  params: Readonly<Record<string, unknown>>,
): Pick<DeviceRecord, "validated" | "autoRevertDetected"> {
  const meta = "meta" in params ? params["meta"] : {};
  if (!isMap(meta)) crash("a meta that is not a map");
  const validated = meta["firmware_validated"] ?? null;
  if (validated !== null && typeof validated !== "boolean") crash("firmware_validated is not a boolean");
  const words = new Map<unknown, DeviceRecord["validated"]>([
    [true, "validated"],
    [false, "not_validated"],
  ]);
  return {
    validated: words.get(validated) ?? "unknown",
    autoRevertDetected: meta["firmware_auto_revert_detected"] === true,
  };
}

/** A uuid other than the recorded one means that an update succeeded. */
function recordFirmware(record: DeviceRecord, params: Readonly<Record<string, unknown>>): void {
  const firmware: FirmwareMetadata = Object.fromEntries(
    Object.entries(params).flatMap(([key, value]) =>
      key.startsWith("nerves_fw_") && typeof value === "string" && value !== ""
        ? [[key.slice("nerves_fw_".length), value]]
        : [],
    ),
  );
  if (REQUIRED.some((key) => firmware[key] === undefined)) return;
  const { uuid = "" } = firmware;
  const previous = record.firmware?.["uuid"];
  record.firmware = firmware;
  if (previous === uuid) return;
  if (previous !== undefined) record.updated.push(uuid);
  record.inFlight = undefined;
  record.blockedUntil = undefined;
  record.attempts = [];
}

const INTERFACES: readonly (readonly [RegExp, string])[] = [
  [/^wlan/, "wifi"],
  [/^(eth|en)/, "ethernet"],
  [/^wwan/, "cellular"],
];

function reportInterface(record: DeviceRecord, name: unknown): void {
  if (typeof name !== "string") crash("an interface that is not a string");
  record.networkInterface = INTERFACES.find(([pattern]) => pattern.test(name))?.[1] ?? "unknown";
}
