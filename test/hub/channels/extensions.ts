/**
 * The topic `extensions` on the stand-in hub: it attaches the extensions that both sides know, asks for reports, and
 * has them read.
 */
import satisfies from "semver/functions/satisfies.js";
import type { Cancel } from "../../../src/platform/clock.ts";
import { crash, isMap } from "../crash.ts";
import { readAlarms, readHealthAlarms } from "./alarms.ts";
import { every, type Channel, type ChannelContext, type Reader } from "./channel.ts";
import { readComponents } from "./components.ts";
import { readErrors } from "./error-reports.ts";
import { readHealthMetrics, readMetrics } from "./reported-metrics.ts";

/** How often the hub repeats its first request; others come once. */
const INTERVALS_MS: Readonly<Record<string, number | undefined>> = {
  health: 3_600_000,
  metrics: 900_000,
};

/** The request that the hub sends when an extension attaches; none for `logging`, which only sends. */
const FIRST_REQUEST: Readonly<Record<string, string | undefined>> = {
  alarms: "alarms:sync",
  components: "components:request",
  geo: "geo:location:request",
  health: "health:check",
  local_shell: "local_shell:request_shell",
  metrics: "metrics:check",
  network_identity: "network_identity:request",
};

/** What the hub does with the reports; those of other extensions are kept in the record of messages only. */
const READERS: Readonly<Record<string, ((context: ChannelContext) => Reader) | undefined>> = {
  alarms: readAlarms,
  components: readComponents,
  error_reports: readErrors,
  health: readHealth,
  metrics: readMetrics,
};

function readHealth(context: ChannelContext): Reader {
  return {
    handle(event, payload) {
      if (event !== "report" || !isMap(payload) || !isMap(payload["value"])) return;
      readHealthMetrics(context, payload["value"]["metrics"]);
      readHealthAlarms(context, payload["value"]["alarms"]);
      context.record.metadata = payload["value"]["metadata"];
    },
    close: () => undefined,
  };
}

/** The join has names and versions of extensions; the answer has the names to attach. */
export function joinExtensions(context: ChannelContext, params: unknown): Channel {
  const { record, hub } = context;
  if (!isMap(params)) crash("extensions that are not a map");
  const wanted = Object.keys(params)
    .sort()
    .filter((name) => {
      const version = params[name];
      if (typeof version !== "string") crash("an extension's version is not a string");
      // Today's hub compares them as text; the one before took each 0.0.x.
      const known = hub.extensions.get(name) ?? [];
      return hub.api === "2.3" ? known.length > 0 && satisfies(version, "~0.0.1") : known.includes(version);
    });
  record.attached.clear();
  const requests = new Map<string, Cancel>();
  const readers = new Map<string, Reader>();

  const attach = (name: string): void => {
    detach(name);
    record.attached.add(name);
    const reader = READERS[name]?.(context);
    if (reader !== undefined) readers.set(name, reader);
    const request = FIRST_REQUEST[name];
    if (request === undefined) return;
    context.push(request, {});
    const intervalMs = INTERVALS_MS[name];
    if (intervalMs === undefined) return;
    requests.set(
      name,
      every(hub.clock, intervalMs, () => context.push(request, {})),
    );
  };
  const detach = (name: string): void => {
    record.attached.delete(name);
    requests.get(name)?.();
    readers.get(name)?.close();
    requests.delete(name);
    readers.delete(name);
  };

  return {
    response: wanted,
    afterJoin: () => undefined,
    handle(event, payload) {
      if (typeof event !== "string") crash("an event that is not a string");
      const colon = event.indexOf(":");
      const name = event.slice(0, Math.max(colon, 0));
      if (!wanted.includes(name)) return { status: "error", response: "detach" };
      switch (event.slice(colon + 1)) {
        case "attached":
          attach(name);
          break;
        case "detached":
        case "error":
          detach(name);
          break;
        default: // the record of messages keeps all, read or not
          readers.get(name)?.handle(event.slice(colon + 1), payload);
          break;
      }
      return undefined;
    },
    close() {
      for (const name of [...record.attached]) detach(name);
    },
  };
}
