/** How much memory the agent has while it waits, and at most during an update. */
import { readFile, writeFile } from "node:fs/promises";
import { startAgentProcess, type AgentProcess } from "./agent-process.ts";
import type { Bench } from "./bench.ts";
import { inRounds, median } from "./rounds.ts";
import type { Row } from "./table.ts";

const HEARTBEATS = 20;
const MAX_GROWTH_MIB = 16;

/** Measures the memory of an agent that waits, and how much it grows during an update. */
export async function measureMemory(bench: Bench): Promise<Row[]> {
  const rounds = await inRounds(bench.rounds, async () => {
    const board = await bench.newBoard();
    const agent = await startAgentProcess(bench, board);
    await agent.heartbeats(HEARTBEATS);
    const idle = await residentMib(agent, "VmRSS");
    await forgetPeak(agent);
    await agent.update("https");
    const peak = await residentMib(agent, "VmHWM");
    await agent.stop();
    await board.remove();
    return { idle, peak };
  });
  const idle = median(rounds.map((round) => round.idle));
  const peak = median(rounds.map((round) => round.peak));
  const growth = median(rounds.map((round) => round.peak - round.idle));
  return [
    {
      ratio: peak / idle,
      goal: { below: (idle + MAX_GROWTH_MIB) / idle },
      what: "peak RSS, https update",
      measured: `${peak.toFixed(1)} MiB`,
      against: `idle ${idle.toFixed(1)} MiB, +${growth.toFixed(1)} MiB`,
    },
  ];
}

async function residentMib({ pid }: AgentProcess, field: "VmRSS" | "VmHWM"): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  const kib = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(status)?.[1];
  if (kib === undefined) throw new Error(`/proc/${pid}/status has no ${field}`);
  return Number(kib) / 1024;
}

/** Makes VmHWM count from now on (proc(5), clear_refs: 5). */
async function forgetPeak({ pid }: AgentProcess): Promise<void> {
  await writeFile(`/proc/${pid}/clear_refs`, "5");
}
