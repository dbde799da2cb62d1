/** All that chance decides in a round, drawn from one seed, so that a round can be repeated. */
import { drip, resetAfter, type Fault } from "../hub/faults.ts";
import { describeCard, drawCard, type Card } from "./card.ts";
import { drawDiskFaults } from "./disk-faults.ts";
import type { LifeFaults } from "./life-faults.ts";
import type { Kept } from "./medium.ts";
import { drawNetworkFaults } from "./network-faults.ts";
import { drawHappening, type Happening } from "./others.ts";
import { createRandom, type Random } from "./random.ts";
import type { ModelName } from "./world.ts";

/**
 * The thing that fails in a round: the power, the network, the disk, or the power and the network at once. A `card`
 * loses flushed data in power cuts. In a round of `others`, people and programs do what the agent does not expect.
 * `transfer` is a long download that the line interrupts ten times and the agent's end ten times, to see how many bytes
 * are downloaded again.
 */
export const KINDS = ["power", "network", "disk", "mixed", "card", "others", "transfer"] as const;
export type Kind = (typeof KINDS)[number];

/**
 * When the power fails: at one change of the medium in a life, at one write to the disk image, or after a number of
 * bytes downloaded in it.
 */
export type CutMoment =
  { readonly atChange: number } | { readonly atDiskWrite: number } | { readonly atByte: number };

/** A fault of the hub or the download server, for its next `times` uses. */
export interface HubFault {
  readonly fault: Fault;
  readonly times: number;
}

/** A round before it is played; only the sectors that a power cut keeps are drawn later. */
export interface Plan {
  readonly kind: Kind;
  readonly model: ModelName;
  /** Whether the other slot holds firmware to revert to. */
  readonly used: boolean;
  /** Whether the image has an ops file. */
  readonly ops: boolean;
  readonly bootScriptTells: boolean;
  readonly mode: "stream" | "cache";
  /** See {@link Cut.direct}. */
  readonly direct: boolean;
  /** One for each life, in order. */
  readonly cuts: readonly { readonly moment: CutMoment; readonly kept: Kept }[];
  /** What a reboot keeps of the changes that were not flushed: a watchdog's or `reboot -f` flushes nothing. */
  readonly keptAtReboot: Kept;
  readonly hubFaults: readonly HubFault[];
  /** How long a firmware URL is valid. */
  readonly urlLifetimeMs: number;
  /** The faults of the first life. */
  readonly lifeFaults: LifeFaults;
  readonly happening: Happening | undefined;
  readonly card: Card | undefined;
  /** Whether the update can't succeed. Then the board must stay as it is. */
  readonly hopeless: boolean;
  /** The names of what fails, for the report. */
  readonly faults: readonly string[];
}

/**
 * A few more changes than an update of a few MiB makes. A power cut beyond the last change happens in a later
 * life, or never.
 */
const CHANGES = 80;
const CHANGES_WITH_CACHE = 215;
/** The same of the writes to the disk image, which the files of the agent's state would outnumber. */
const DISK_WRITES = 26;
const NEVER_MS = 3_600_000;
/** About the size of firmware for small boards. */
const FIRMWARE_BYTES = 2_400_000;

/** The plan of the round with this seed. */
export function drawPlan(seed: number, kind: Kind): { plan: Plan; random: Random } {
  const random = createRandom(seed);
  if (kind === "transfer") return { plan: drawTransfer(random), random };
  const board = {
    kind,
    model: random.pick(["single", "redundant"] as const),
    used: random.chance(0.6),
    ops: random.chance(0.5),
    bootScriptTells: random.chance(0.75),
    mode: random.pick(["stream", "cache"] as const),
    direct: random.chance(0.75),
  };
  const withPower = kind === "power" || kind === "mixed" || kind === "card";
  const card = kind === "card" ? drawCard(random) : undefined;
  const cuts = withPower ? drawCuts(random, board.mode, card !== undefined) : [];
  const keptAtReboot = withPower ? random.pick(["all", "nothing", "nothing", "any"] as const) : "all";
  const network =
    kind === "network" || kind === "mixed"
      ? drawNetworkFaults(random, FIRMWARE_BYTES, kind === "network")
      : { hubFaults: [], lifeFaults: {}, hopeless: false, names: [] };
  const disk =
    kind === "disk" ? drawDiskFaults(random, FIRMWARE_BYTES) : { lifeFaults: {}, hopeless: false, names: [] };
  const happening = kind === "others" ? drawHappening(random, FIRMWARE_BYTES) : undefined;
  const plan: Plan = {
    ...board,
    bootScriptTells: happening?.bootScriptTells ?? board.bootScriptTells,
    cuts,
    keptAtReboot,
    hubFaults: [...network.hubFaults, ...(happening?.hubFaults ?? [])],
    urlLifetimeMs: network.urlLifetimeMs ?? NEVER_MS,
    lifeFaults: { ...network.lifeFaults, ...disk.lifeFaults, ...happening?.lifeFaults },
    happening,
    card,
    hopeless: network.hopeless || disk.hopeless,
    faults: [
      ...cuts.map(({ moment }) => nameOf(moment)),
      ...(keptAtReboot === "all" ? [] : ["reboot that flushes nothing"]),
      ...network.names,
      ...disk.names,
      ...(happening === undefined ? [] : [happening.name]),
      ...(card === undefined ? [] : [describeCard(card)]),
    ],
  };
  return { plan, random };
}

/** @param hitsEnvironment the environment and what lies beside it is written first and last */
function drawCuts(random: Random, mode: Plan["mode"], hitsEnvironment: boolean): Plan["cuts"] {
  const changes = mode === "cache" ? CHANGES_WITH_CACHE : CHANGES;
  return Array.from({ length: random.int(1, 3) }, (_, index) => ({
    moment: random.pick<() => CutMoment>([
      // The first life has the whole update to do; later ones may have little more than a boot.
      () => ({ atChange: random.int(1, index === 0 || random.chance(0.5) ? changes : 20) }),
      () => ({
        atDiskWrite: hitsEnvironment
          ? random.pick([1, DISK_WRITES - 4, DISK_WRITES - 3, DISK_WRITES - 2])
          : random.int(1, DISK_WRITES),
      }),
      () => ({ atByte: random.int(0, FIRMWARE_BYTES) }),
    ])(),
    kept: random.pick(["nothing", "all", "some-first", "any"] as const),
  }));
}

/** Twenty interruptions over 24 MB, on a line that is too slow to have much in flight. */
function drawTransfer(random: Random): Plan {
  const stretch = (): number => random.int(500_000, 1_100_000);
  return {
    kind: "transfer",
    model: "large",
    used: true,
    ops: true,
    bootScriptTells: true,
    mode: "cache",
    direct: true,
    cuts: Array.from({ length: 10 }, () => ({ moment: { atByte: 2 * stretch() }, kept: "all" as const })),
    keptAtReboot: "all",
    hubFaults: [
      { fault: drip(8 * 1024, 4), times: Infinity },
      { fault: resetAfter(stretch()), times: 10 },
    ],
    urlLifetimeMs: NEVER_MS,
    lifeFaults: {},
    happening: undefined,
    card: undefined,
    hopeless: false,
    faults: ["twenty cuts of a long download"],
  };
}

function nameOf(moment: CutMoment): string {
  if ("atByte" in moment) return "power cut at a byte of the download";
  return "atChange" in moment ? "power cut at a change of any file" : "power cut at a write to the disk";
}

/** A round in one line. */
export function describePlan(plan: Plan): string {
  const { model, used, ops, bootScriptTells, mode, direct, cuts, keptAtReboot, hubFaults, lifeFaults } = plan;
  const parts = [
    `${model} board`,
    used ? "updated before" : "fresh",
    ops ? "ops file" : "no ops file",
    bootScriptTells ? "fw_slot=" : "no fw_slot=",
    mode,
    direct ? "direct" : "cached",
    ...(keptAtReboot === "all" ? [] : [`reboots keep ${keptAtReboot}`]),
    ...cuts.map(({ moment, kept }) => `cut ${JSON.stringify(moment)} keeping ${kept}`),
    ...hubFaults.map(({ fault, times }) => `${fault.name} x${times}`),
    ...(Object.keys(lifeFaults).length > 0 ? [JSON.stringify(lifeFaults)] : []),
    ...(plan.urlLifetimeMs < NEVER_MS ? [`URLs end after ${plan.urlLifetimeMs} ms`] : []),
    ...(plan.card === undefined ? [] : [describeCard(plan.card)]),
    ...(plan.happening === undefined
      ? []
      : [plan.happening.name, JSON.stringify(plan.happening.byHand ?? {})]),
    ...(plan.hopeless ? ["hopeless"] : []),
  ];
  return parts.join(", ");
}
