import { readFile, statfs } from "node:fs/promises";
import { join } from "node:path";

/** By the names that NervesHub draws graphs of (protocol §6). */
export type Metrics = Readonly<Record<string, number>>;

export interface MetricSources {
  /** The root folder, `/` on a board: where `proc` and `sys` are. */
  readonly root: string;
  /** A path on the file system that may fill up; where it does not exist, the root's is measured. */
  readonly diskPath: string;
}

/** A board may have as many interfaces as it has containers; the hub draws none of those. */
const MAX_INTERFACES = 8;

/**
 * Reads the board's metrics from the kernel's files, which costs no child and next to no time. What a file
 * does not say is left out. CPU usage is that since the last reading; at first, since the board started.
 */
export function createMetrics({ root, diskPath }: MetricSources): () => Promise<Metrics> {
  let cpuBefore: CpuTime = { busy: 0, total: 0 };
  const read = async (path: string): Promise<string> => {
    try {
      return await readFile(join(root, path), "utf8");
    } catch {
      return ""; // not on this kernel: its metrics are left out
    }
  };

  return async () => {
    const [stat, loadavg, meminfo, temperature, netDev, disk] = await Promise.all([
      read("proc/stat"),
      read("proc/loadavg"),
      read("proc/meminfo"),
      read("sys/class/thermal/thermal_zone0/temp"),
      read("proc/net/dev"),
      diskMetrics(diskPath),
    ]);
    const cpu = cpuTime(stat);
    const usage =
      cpu === undefined ? NaN : ((cpu.busy - cpuBefore.busy) / (cpu.total - cpuBefore.total)) * 100;
    cpuBefore = cpu ?? cpuBefore;
    const [load1, load5, load15] = loadavg.split(" ").map(Number.parseFloat);
    return known({
      cpu_temp: Number.parseInt(temperature, 10) / 1000,
      cpu_usage_percent: usage,
      load_1min: load1,
      load_5min: load5,
      load_15min: load15,
      ...memoryMetrics(meminfo),
      ...disk,
      ...interfaceMetrics(netDev),
    });
  };
}

interface CpuTime {
  readonly busy: number;
  readonly total: number;
}

/** Ticks of all CPUs: user, nice, system, idle, iowait, irq, softirq, steal (proc(5)). */
function cpuTime(stat: string): CpuTime | undefined {
  const ticks = /^cpu +(.*)$/m.exec(stat)?.[1]?.split(" ").slice(0, 8).map(Number);
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
  const usable = stats.blocks - stats.bfree + stats.bavail; // as df does: without what only root may use
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

/** Those that could be read, with no more digits than they are worth. */
function known(metrics: Readonly<Record<string, number | undefined>>): Metrics {
  return Object.fromEntries(
    Object.entries(metrics).flatMap(([name, value]) =>
      value === undefined || !Number.isFinite(value) ? [] : [[name, Math.round(value * 100) / 100]],
    ),
  );
}
