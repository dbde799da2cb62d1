/** How long the agent takes to start. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { startAgentProcess } from "./agent-process.ts";
import type { Bench } from "./bench.ts";
import { alternate } from "./rounds.ts";
import type { Row } from "./table.ts";

/** A start takes a fraction of an update, so there is time for more of them. */
const ROUNDS_FACTOR = 3;

/** Measures the start, compared with a Node that does nothing. */
export async function measureStart(bench: Bench): Promise<Row[]> {
  const { joined, version, node, ratio } = await alternate(bench.rounds * ROUNDS_FACTOR, {
    node: async () => runMs(["-e", "0"]),
    joined: async () => joinedMs(bench),
    version: async () => runMs([bench.agent, "--version"]),
  });
  const against = `node -e 0 ${node.toFixed(0)} ms`;
  return [
    { ratio: ratio("joined", "node"), what: "start to joined", measured: `${joined.toFixed(0)} ms`, against },
    {
      ratio: ratio("version", "node"),
      what: "start to --version",
      measured: `${version.toFixed(0)} ms`,
      against,
    },
  ];
}

async function joinedMs(bench: Bench): Promise<number> {
  const board = await bench.newBoard();
  const agent = await startAgentProcess(bench, board);
  await agent.stop();
  await board.remove();
  return agent.joinedAfterMs;
}

async function runMs(args: readonly string[]): Promise<number> {
  const fromMs = performance.now();
  await once(spawn(process.execPath, args, { stdio: "ignore" }), "exit");
  return performance.now() - fromMs;
}
