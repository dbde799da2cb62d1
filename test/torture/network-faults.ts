/** Network faults of a round: of downloads and of the connection to the hub. */
import * as faults from "../hub/faults.ts";
import type { Fault } from "../hub/faults.ts";
import type { LifeFaults } from "./life-faults.ts";
import type { HubFault } from "./plan.ts";
import type { Random } from "./random.ts";

export interface NetworkFaults {
  readonly hubFaults: readonly HubFault[];
  readonly lifeFaults: LifeFaults;
  readonly urlLifetimeMs?: number;
  readonly hopeless: boolean;
  readonly names: readonly string[];
}

type Draw = (random: Random, sizeBytes: number) => Fault;

const offset: (random: Random, sizeBytes: number) => number = (random, sizeBytes) =>
  random.int(0, sizeBytes - 1);

/** Faults of downloads, by their names in the report. */
const DOWNLOAD: Readonly<Record<string, Draw>> = {
  reset: (random, size) => faults.resetAfter(offset(random, size)),
  stall: (random, size) => faults.stallAfter(offset(random, size)),
  "slow drip": (random) => faults.drip(random.int(1000, 20_000), 1),
  truncation: (random, size) => faults.truncateAt(offset(random, size)),
  "wrong length": (random) => faults.wrongContentLength(random.pick([-1, 1]) * random.int(1, 100_000)),
  "corrupted byte": (random, size) => faults.corruptByte(offset(random, size)),
  "duplicated bytes": (random, size) => faults.duplicateBytes(offset(random, size), random.int(1, 70_000)),
  "200 for a range": () => faults.ignoreRange(),
  "lying Content-Range": (random) => faults.lyingContentRange(random.int(1, 100_000)),
  "changing ETag": () => faults.changingEtag(),
  "error status": (random) =>
    faults.refuseDownload(random.pick([401, 403, 404, 408, 410, 416, 429, 500, 503])),
  redirect: () => faults.redirectDownload(),
  "broken TLS": (random, size) => faults.breakTlsAfter(offset(random, size)),
};
/** This fault shows only when a download resumes, so another one must interrupt the download first. */
const NEEDS_A_BREAK = ["200 for a range", "lying Content-Range", "changing ETag"];

const MAX_TIMES = 3;

/**
 * Draws one to three faults of the network, each for a few uses.
 * @param mayBeHopeless whether one of them may be permanent
 */
export function drawNetworkFaults(random: Random, sizeBytes: number, mayBeHopeless: boolean): NetworkFaults {
  const hubFaults: HubFault[] = [];
  const names: string[] = [];
  let lifeFaults: LifeFaults = {};
  let urlLifetimeMs: number | undefined;
  if (mayBeHopeless && random.chance(0.1)) {
    names.push("corrupted for ever");
    hubFaults.push({ fault: faults.corruptByte(offset(random, sizeBytes)), times: Infinity });
    return { hubFaults, lifeFaults, hopeless: true, names };
  }
  const kinds = ["flapping socket", "expired URL", "no DNS", ...Object.keys(DOWNLOAD)] as const;
  for (let count = random.int(1, 3); count > 0; count--) {
    const name = random.pick(kinds);
    names.push(name);
    const times = random.int(1, MAX_TIMES);
    if (NEEDS_A_BREAK.includes(name))
      hubFaults.push({ fault: faults.resetAfter(offset(random, sizeBytes)), times });
    const draw = DOWNLOAD[name];
    if (draw !== undefined) hubFaults.push({ fault: draw(random, sizeBytes), times });
    if (name === "flapping socket") hubFaults.push({ fault: faults.flap(random.int(100, 1500)), times: 8 });
    // A signature expires at a whole second of the hub's clock.
    if (name === "expired URL") urlLifetimeMs = random.int(0, 1000);
    if (name === "no DNS") lifeFaults = { dnsFailures: random.int(1, 6) };
  }
  return {
    hubFaults,
    lifeFaults,
    ...(urlLifetimeMs !== undefined && { urlLifetimeMs }),
    hopeless: false,
    names,
  };
}
