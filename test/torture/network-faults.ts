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
/** What a hub that is broken or hostile sends when a socket opens. Nothing of it keeps a board from its update. */
const HOSTILE_FRAMES: readonly [string | Buffer, ...(string | Buffer)[]] = [
  '{"not":"a frame"',
  "[]",
  `[null,null,"device","update",${"[".repeat(20_000)}${"]".repeat(20_000)}]`,
  `[null,null,"device","update",${JSON.stringify(Array.from({ length: 50_000 }, () => ({})))}]`,
  '[null,null,"device","update",{"firmware_url":7,"firmware_meta":{"uuid":["x"]},"update_available":"yes"}]',
  `["1","1","device","phx_reply",{"status":"ok","response":{"update_available":${"9".repeat(400)}}}]`,
  `[null,null,"${"\u001b[2J\u202e".repeat(100)}","reboot\u0000",{"\u001b]0;x\u0007":"${"\n".repeat(1000)}"}]`,
  Buffer.from([0, 255, 255, 255, 255, 0, 1, 2, 3]),
  Buffer.alloc(70_000, 0xc1),
];

/** Faults of the connection to the hub, by their names in the report. */
const HUB: Readonly<Record<string, (random: Random) => Fault>> = {
  "flapping socket": (random) => faults.flap(random.int(100, 1500)),
  "redirected upgrade": () => faults.redirectUpgrade(),
  "upgrade redirected to another server": () => faults.redirectUpgrade("https://elsewhere.invalid/socket"),
  "hostile frames": (random) => faults.garbageFrame(random.pick(HOSTILE_FRAMES)),
};
/** A socket that does not stay open is tried again many times. */
const MAX_FLAPS = 8;

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
  const kinds = ["expired URL", "no DNS", ...Object.keys(HUB), ...Object.keys(DOWNLOAD)] as const;
  for (let count = random.int(1, 3); count > 0; count--) {
    const name = random.pick(kinds);
    names.push(name);
    const times = random.int(1, MAX_TIMES);
    if (NEEDS_A_BREAK.includes(name))
      hubFaults.push({ fault: faults.resetAfter(offset(random, sizeBytes)), times });
    const draw = DOWNLOAD[name];
    if (draw !== undefined) hubFaults.push({ fault: draw(random, sizeBytes), times });
    const drawHub = HUB[name];
    if (drawHub !== undefined)
      hubFaults.push({ fault: drawHub(random), times: name === "flapping socket" ? MAX_FLAPS : times });
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
