/**
 * The numbers that are reported: the board's own, from the kernel's files, and those that an application publishes.
 * Reading them starts no child and takes next to no time. A number that can't be read is left out.
 */
import { statfs } from "node:fs/promises";
import { join } from "node:path";
import { readIfThere } from "../platform/files.ts";
import type { World } from "../platform/world.ts";

/** Keyed by the names for which NervesHub draws graphs (protocol §6). */
export type Metrics = Readonly<Record<string, number>>;

/** One reading of the board's own numbers. */
export interface BoardReading {
  /** Load, memory, disk and temperature. */
  readonly core: Metrics;
  /** The traffic of each network interface. */
  readonly interfaces: Metrics;
}

export interface MetricSources {
  /** Where `proc` and `sys` are. */
  readonly world: World;
  /** A path on the file system that is measured; the root file system is measured where it does not exist. */
  readonly diskPath: string;
}

/** A board with many containers has as many interfaces, and the hub draws none of them. */
const MAX_INTERFACES = 8;

export class BoardMetrics {
  readonly #sources: MetricSources;
  #cpuBefore: CpuTime = { busy: 0, total: 0 };

  constructor(sources: MetricSources) {
    this.#sources = sources;
  }

  /** CPU usage is that since the last reading; in the first reading, since the board started. */
  async read(): Promise<BoardReading> {
    const [stat, loadavg, meminfo, temperature, netDev, disk] = await Promise.all([
      this.#file("proc/stat"),
      this.#file("proc/loadavg"),
      this.#file("proc/meminfo"),
      this.#file("sys/class/thermal/thermal_zone0/temp"),
      this.#file("proc/net/dev"),
      diskMetrics(this.#sources.diskPath),
    ]);
    const [load1, load5, load15] = loadavg.split(" ").map(Number.parseFloat);
    const core = known({
      cpu_temp: Number.parseInt(temperature, 10) / 1000,
      cpu_usage_percent: this.#cpuUsage(stat),
      load_1min: load1,
      load_5min: load5,
      load_15min: load15,
      ...memoryMetrics(meminfo),
      ...disk,
    });
    return { core, interfaces: known(interfaceMetrics(netDev)) };
  }

  /** Empty for a file that this kernel does not have. */
  async #file(path: string): Promise<string> {
    return (await readIfThere(join(this.#sources.world.root, path))) ?? "";
  }

  #cpuUsage(stat: string): number | undefined {
    const cpu = cpuTime(stat);
    if (cpu === undefined) return undefined;
    const before = this.#cpuBefore;
    this.#cpuBefore = cpu;
    return ((cpu.busy - before.busy) / (cpu.total - before.total)) * 100;
  }
}

interface CpuTime {
  readonly busy: number;
  readonly total: number;
}

/** Ticks of all CPUs: user, nice, system, idle, iowait, irq, softirq, steal (proc(5)). */
function cpuTime(stat: string): CpuTime | undefined {
  const ticks = /^cpu +(\d.*)$/m.exec(stat)?.[1]?.split(" ").slice(0, 8).map(Number);
  if (ticks === undefined) return undefined;
  const total = ticks.reduce((sum, value) => sum + value, 0);
  return { total, busy: total - (ticks[3] ?? 0) - (ticks[4] ?? 0) };
}

function memoryMetrics(meminfo: string): Record<string, number> {
  const kib = (name: string): number =>
    Number(new RegExp(`^${name}: *(\\d+) kB$`, "m").exec(meminfo)?.[1] ?? NaN);
  const total = kib("MemTotal");
  const used = total - kib("MemAvailable");
  return {
    mem_size_mb: Math.round(total / 1024),
    mem_used_mb: Math.round(used / 1024),
    mem_used_percent: (used / total) * 100,
  };
}

async function diskMetrics(path: string): Promise<Record<string, number>> {
  const stats = await statfs(path).catch(async () => statfs("/"));
  const kib = (blocks: number): number => Math.round((blocks * stats.bsize) / 1024);
  const usable = stats.blocks - stats.bfree + stats.bavail; // as df counts: without the blocks reserved for root
  return {
    disk_total_kb: kib(stats.blocks),
    disk_available_kb: kib(stats.bavail),
    disk_used_percentage: usable === 0 ? NaN : ((usable - stats.bavail) / usable) * 100,
  };
}

function interfaceMetrics(netDev: string): Record<string, number> {
  const counted = netDev
    .split("\n")
    .map((line) => /^ *([^\s:]+): *(\d+)(?: +\d+){7} +(\d+)/.exec(line))
    .filter((match) => match !== null)
    .filter(([, name]) => name !== "lo")
    .slice(0, MAX_INTERFACES);
  return Object.fromEntries(
    counted.flatMap(([, name = "", received, sent]) => [
      [`${name}_bytes_received_total`, Number(received)],
      [`${name}_bytes_sent_total`, Number(sent)],
    ]),
  );
}

/** The numbers that could be read, rounded to two digits. */
function known(metrics: Readonly<Record<string, number | undefined>>): Metrics {
  return Object.fromEntries(
    Object.entries(metrics).flatMap(([name, value]) =>
      value === undefined || !Number.isFinite(value) ? [] : [[name, Math.round(value * 100) / 100]],
    ),
  );
}

const MAX_NAMES = 64;
const NAME = /^[A-Za-z0-9_.:-]{1,64}$/;

/** Numbers that an application publishes; each name keeps its last value. */
export class ApplicationMetrics {
  #values: ReadonlyMap<string, number> = new Map();

  /** In the order in which the names came. */
  get values(): ReadonlyMap<string, number> {
    return this.#values;
  }

  /** @returns the problem with one of the values, in which case all of them are ignored */
  merge(added: Metrics): string | undefined {
    for (const [name, value] of Object.entries(added)) {
      if (!NAME.test(name)) return "a metric's name has 1 to 64 letters, digits, or any of _ . : -";
      if (!Number.isFinite(value)) return `${name} is not a finite number`;
    }
    const merged = new Map([...this.#values, ...Object.entries(added)]);
    if (merged.size > MAX_NAMES) return `more than ${MAX_NAMES} metrics`;
    this.#values = merged;
    return undefined;
  }
}
