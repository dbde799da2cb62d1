/**
 * Turns the configuration into the options of the parts. Rule: nothing is decided here that no setting decides.
 */
import type { Config } from "../config/schema.ts";
import type { ControlServerOptions } from "../control/server.ts";
import type { LinkOptions } from "../hub/link.ts";
import { loadMsgpackSerializer } from "../hub/msgpack.ts";
import { jsonSerializer } from "../hub/serializer.ts";
import { loadDownloadTrust } from "../identity/trust.ts";
import { chooseProxy } from "../platform/proxy.ts";
import { TokenBucket } from "../platform/pace.ts";
import { mayFetchFrom } from "../platform/url-hosts.ts";
import type { World } from "../platform/world.ts";
import type { FwupSettings } from "../update/engine.ts";
import type { HubOfferDeps, OfferDeps } from "../update/offers.ts";

/** A rate limit lets this much through at once; shorter, timers would cost more than they even out. */
const BURST_S = 0.1;

/**
 * How the configuration has files fetched; what it limits, it limits for all downloads together.
 * @throws Failure when the environment's proxy can't be used
 */
export function downloadSettings(
  { firmware, hub, update }: Config,
  world: World,
): Pick<OfferDeps, "retry" | "rateLimit" | "proxyFor" | "trusted"> {
  const { retry, rateLimitKibS: kibPerSecond } = update;
  const settings = {
    retry,
    proxyFor: chooseProxy(hub.proxy, process.env),
    trusted: async () => (await loadDownloadTrust(firmware.caFile, hub.caFile, world)).ca,
  };
  if (kibPerSecond === 0) return settings;
  const perSecond = kibPerSecond * 1024;
  return { ...settings, rateLimit: new TokenBucket({ perSecond, burst: perSecond * BURST_S }, world.clock) };
}

/** How the configuration has the hub's files fetched. */
export function hubDownloadSettings({
  firmware,
  update,
}: Config): Pick<HubOfferDeps, "mode" | "connections" | "mayFetch"> {
  const { mode, connections } = update;
  return { mode, connections, mayFetch: mayFetchFrom(firmware.urlHosts) };
}

/** How the configuration has the control socket made. */
export function socketSettings({ state }: Config): Pick<ControlServerOptions, "path" | "mode" | "group"> {
  return {
    path: state.controlSocket,
    mode: Number.parseInt(state.controlMode, 8),
    group: state.controlGroup,
  };
}

/** How the configuration has fwup run for an update. */
export function fwupSettings({ firmware, update }: Config): FwupSettings {
  return {
    fwup: firmware.fwup,
    args: [...(update.verifyWritten ? ["--verify-writes"] : []), ...firmware.fwupArgs],
    env: firmware.fwupEnv,
    task: firmware.task,
    stallMs: update.stallMs,
  };
}

/** How the configuration has the hub spoken to. */
export async function linkSettings({
  serializer,
  reconnect,
  heartbeatMs,
}: Config["hub"]): Promise<Pick<LinkOptions, "serializer" | "fallback" | "reconnect" | "heartbeatMs">> {
  return {
    serializer: serializer === "msgpack" ? await loadMsgpackSerializer() : jsonSerializer,
    fallback: jsonSerializer,
    reconnect,
    heartbeatMs,
  };
}
