/**
 * The topic `extensions` on the stand-in hub: it attaches the extensions that both sides know, and asks for
 * reports.
 */
import satisfies from "semver/functions/satisfies.js";
import type { Cancel } from "../../../src/platform/clock.ts";
import { crash, isMap } from "../crash.ts";
import { every, type Channel, type ChannelContext } from "./channel.ts";

const HEALTH_INTERVAL_MS = 3_600_000;

/** The request that the hub sends when an extension attaches; none for `logging`, which only sends. */
const FIRST_REQUEST: Readonly<Record<string, string | undefined>> = {
  geo: "geo:location:request",
  health: "health:check",
  local_shell: "local_shell:request_shell",
  network_identity: "network_identity:request",
};

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
  let stopHealthChecks: Cancel = () => undefined;

  const attach = (name: string): void => {
    record.attached.add(name);
    const request = FIRST_REQUEST[name];
    if (request === undefined) return;
    context.push(request, {});
    if (name !== "health") return;
    stopHealthChecks();
    stopHealthChecks = every(hub.clock, HEALTH_INTERVAL_MS, () => context.push(request, {}));
  };
  const detach = (name: string): void => {
    record.attached.delete(name);
    if (name === "health") stopHealthChecks();
  };

  return {
    response: wanted,
    afterJoin: () => undefined,
    handle(event) {
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
        default: // reports; the record keeps them all
          break;
      }
      return undefined;
    },
    close() {
      stopHealthChecks();
      record.attached.clear();
    },
  };
}
