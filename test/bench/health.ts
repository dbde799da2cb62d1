/** How much CPU time a health report takes, compared with hashing 1 MiB. */
import { createHash } from "node:crypto";
import { Health } from "../../src/extensions/health.ts";
import { BoardMetrics } from "../../src/extensions/health-metrics.ts";
import type { RunningExtension } from "../../src/extensions/extension.ts";
import { silentLog } from "../../src/platform/log.ts";
import { systemWorld } from "../../src/platform/world.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { alternate } from "./rounds.ts";
import type { Row } from "./table.ts";

const REPORTS = 500;
/** A report that is asked for sooner after the last one would be that one. */
const APART_MS = 60_000;
const MEBIBYTE = Buffer.alloc(1024 * 1024, 1);

/** Measures the CPU time of a health report; the hub asks for one an hour. */
export async function measureHealth(rounds: number): Promise<Row[]> {
  const clock = new FakeClock();
  const health = startHealth(clock);
  const report = async (): Promise<void> => {
    await clock.advance(APART_MS);
    await health.onMessage("check", {});
  };
  const { one, hash, ratio } = await alternate(rounds, {
    one: async () => cpuMs(report, REPORTS),
    hash: async () => cpuMs(async () => Promise.resolve(void sha256(MEBIBYTE)), REPORTS / 10),
  });
  return [
    {
      ratio: ratio("one", "hash"),
      what: "a health report, CPU",
      measured: `${one.toFixed(2)} ms`,
      against: `SHA-256 of 1 MiB ${hash.toFixed(2)} ms`,
    },
  ];
}

function startHealth(clock: FakeClock): RunningExtension {
  const metrics = new BoardMetrics({ world: systemWorld, diskPath: "/" });
  return new Health({
    facts: () => ({
      metadata: { version: "1.0.0" },
      lossesLately: 0,
      lastLoss: undefined,
      update: undefined,
      pendingValidation: false,
      reverted: false,
      firmwareProblem: undefined,
      certificateEndsMs: undefined,
    }),
    metrics: async () => (await metrics.read()).core,
    componentValues: async () => Promise.resolve({}),
    alarms: async () => Promise.resolve({}),
    boardMetadata: async () => Promise.resolve({ board: "Raspberry Pi Zero W Rev 1.1" }),
    clock,
  }).start({
    push: (_event, payload) => JSON.stringify(payload).length > 0, // as the link does
    clock,
    log: silentLog,
    version: "0.0.1",
    signal: new AbortController().signal,
    fail: (error) => {
      throw error;
    },
  });
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** The CPU time of one call, ms. */
async function cpuMs(work: () => Promise<void>, times: number): Promise<number> {
  const before = ownMs();
  for (let time = 0; time < times; time += 1) await work();
  return (ownMs() - before) / times;
}

function ownMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
