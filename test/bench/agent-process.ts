/** The agent as a process of its own, whose memory and times can be measured. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { IDENTIFIER, type Bench, type BenchBoard } from "./bench.ts";

/** The bundled agent on a board, joined to its hub. */
export interface AgentProcess {
  readonly pid: number;
  /** The time from the spawn until the hub got the join, ms. */
  readonly joinedAfterMs: number;
  /** Deploys the release; resolves when the hub has the status "completed". */
  update(scheme: Scheme): Promise<{ readonly tookMs: number }>;
  heartbeats(count: number): Promise<void>;
  stop(): Promise<void>;
}

/** How firmware is downloaded. */
export type Scheme = "http" | "https";

const PATIENCE_MS = 300_000;
const MAX_LOG_CHARS = 8192;

export async function startAgentProcess(
  { agent, hub, release, files }: Bench,
  board: BenchBoard,
  nodeArgs: readonly string[] = [],
): Promise<AgentProcess> {
  const device = hub.device(IDENTIFIER);
  const before = { joins: device.joins.length, statuses: device.statuses.length };
  const startedAtMs = performance.now();
  const child = spawn(process.execPath, [...nodeArgs, agent, "run", "--config", board.configFile], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (log = (log + text).slice(-MAX_LOG_CHARS)));
  const ended = once(child, "exit");
  const until = async (condition: () => boolean): Promise<void> => {
    const gone = ended.then(() => {
      throw new Error(`the agent has ended; its log:\n${log}`);
    });
    await Promise.race([hub.until(condition, PATIENCE_MS), gone]);
  };
  await until(() => device.joins.length > before.joins);
  const joinedAfterMs = performance.now() - startedAtMs;

  const statusAtMs = async (wanted: string): Promise<number> => {
    const news = (): string[] => device.statuses.slice(before.statuses).map(({ status }) => status);
    await until(() => news().some((status) => status === wanted || status === "failed"));
    if (!news().includes(wanted)) throw new Error(`the update has failed; the agent's log:\n${log}`);
    return performance.now();
  };
  return {
    pid: child.pid ?? 0,
    joinedAfterMs,
    async update(scheme) {
      hub.pushUpdate(IDENTIFIER, release, { firmware_url: files.urls[scheme] });
      const fromMs = await statusAtMs("started");
      return { tookMs: (await statusAtMs("completed")) - fromMs };
    },
    async heartbeats(count) {
      const seen = (): number => device.received.filter(({ event }) => event === "heartbeat").length;
      const goal = seen() + count;
      await until(() => seen() >= goal);
    },
    async stop() {
      child.kill("SIGTERM");
      await ended;
    },
  };
}
