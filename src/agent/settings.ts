import type { Config } from "../config/schema.ts";
import type { Clock } from "../platform/clock.ts";
import { chooseProxy } from "../platform/proxy.ts";
import { createTokenBucket } from "../platform/token-bucket.ts";
import type { OfferDeps } from "../update/offers.ts";

/** A limit evens out over so much time. */
const BURST_S = 0.1;

/**
 * How the configuration has files fetched; what it limits, it limits for all downloads together.
 * @throws Failure when the environment's proxy can't be used
 */
export function downloadSettings(
  { hub, update }: Config,
  clock: Clock,
): Pick<OfferDeps, "retry" | "rateLimit" | "proxyFor"> {
  const { retry, rate_limit_kib_s: kibPerSecond } = update;
  const settings = { retry, proxyFor: chooseProxy(hub.proxy, process.env) };
  if (kibPerSecond === 0) return settings;
  const perSecond = kibPerSecond * 1024;
  return { ...settings, rateLimit: createTokenBucket({ perSecond, burst: perSecond * BURST_S }, clock) };
}
