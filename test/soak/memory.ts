/**
 * The memory of the agent's process over time, and what follows from it. Rule: what the agent loads once, in its
 * first minutes, is not what it gains for ever; so growth counts from a warm-up in which everything happened once.
 */
import { readFile } from "node:fs/promises";

/** The memory at one moment, MiB. */
export interface Sample {
  /** Since the agent joined. */
  readonly atS: number;
  /** All of its pages in memory, those of its executable too. */
  readonly rss: number;
  /** Pages that belong to no file, which the kernel cannot drop. */
  readonly own: number;
  readonly heapUsed: number;
  readonly heapTotal: number;
  /** What V8 knows of outside its heap; it includes `arrayBuffers`. */
  readonly external: number;
  readonly arrayBuffers: number;
}

/** What a series of samples says. */
export interface Course {
  /** RSS when the agent had joined, when everything had happened once, at most, and in the last tenth, MiB. */
  readonly joinedMib: number;
  readonly warmMib: number;
  readonly peakMib: number;
  readonly endMib: number;
  /** From warm to end. */
  readonly growthMib: number;
  /** Of RSS in the second half of the time, KiB a minute. */
  readonly slopeKibMin: number;
}

const MIB = 1024 * 1024;

/**
 * Runs in the agent's process (`node --require`) and answers each message with its memory. The channel is not to
 * keep the agent alive.
 */
export const PROBE =
  "process.on('message', () => process.send(process.memoryUsage())); process.channel.unref();\n";

/** @param usage the probe's answer */
export async function sampleOf(pid: number, usage: NodeJS.MemoryUsage, atS: number): Promise<Sample> {
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, "utf8");
  const kib = (field: string): number => {
    const found = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(rollup)?.[1];
    if (found === undefined) throw new Error(`/proc/${pid}/smaps_rollup has no ${field}`);
    return Number(found);
  };
  return {
    atS,
    rss: kib("Rss") / 1024,
    own: kib("Anonymous") / 1024,
    heapUsed: usage.heapUsed / MIB,
    heapTotal: usage.heapTotal / MIB,
    external: usage.external / MIB,
    arrayBuffers: usage.arrayBuffers / MIB,
  };
}

/**
 * @param samples oldest first; the first is of an agent that has just joined
 * @param warmAtS when everything had happened once
 */
export function courseOf(samples: readonly Sample[], warmAtS: number): Course {
  const lastS = samples.at(-1)?.atS ?? 0;
  const rss = samples.map((sample) => sample.rss);
  const after = (atS: number): readonly Sample[] => samples.filter((sample) => sample.atS >= atS);
  const warmMib = after(warmAtS)[0]?.rss ?? NaN;
  const endMib = mean(after(lastS * 0.9).map((sample) => sample.rss));
  return {
    joinedMib: rss[0] ?? NaN,
    warmMib,
    peakMib: Math.max(...rss),
    endMib,
    growthMib: endMib - warmMib,
    slopeKibMin: slope(after(lastS / 2).map(({ atS, rss: mib }) => [atS / 60, mib * 1024])),
  };
}

/** The slope of the straight line that lies nearest to the points (least squares); 0 for a single point. */
function slope(points: readonly (readonly [x: number, y: number])[]): number {
  const meanX = mean(points.map(([x]) => x));
  const meanY = mean(points.map(([, y]) => y));
  const spread = points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
  if (spread === 0) return 0;
  return points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0) / spread;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
