/** How fast an update is. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { startAgentProcess, type Scheme } from "./agent-process.ts";
import type { Bench } from "./bench.ts";
import { alternate } from "./rounds.ts";
import type { Row } from "./table.ts";

const MIB = 1024 * 1024;

/** Measures an update by the agent, compared with curl piped into fwup. */
export async function measureSpeed(bench: Bench, scheme: Scheme): Promise<Row[]> {
  const { agent, curl, ratio } = await alternate(bench.rounds, {
    agent: async () => agentMs(bench, scheme),
    curl: async () => curlMs(bench, scheme),
  });
  const rate = (ms: number): string => `${(bench.release.sizeBytes / MIB / (ms / 1000)).toFixed(0)} MiB/s`;
  return [
    {
      ratio: ratio("curl", "agent"),
      goal: { atLeast: 0.95 },
      what: `update over ${scheme}`,
      measured: rate(agent),
      against: `curl | fwup ${rate(curl)}`,
    },
  ];
}

async function agentMs(bench: Bench, scheme: Scheme): Promise<number> {
  const board = await bench.newBoard();
  const agent = await startAgentProcess(bench, board);
  const { tookMs } = await agent.update(scheme);
  await agent.stop();
  await board.remove();
  return tookMs;
}

async function curlMs(bench: Bench, scheme: Scheme): Promise<number> {
  const { fwup, files, signingKey, caFile } = bench;
  const board = await bench.newBoard();
  const line =
    'curl -sN --cacert "$CA" "$URL" | "$FWUP" -q --apply --no-unmount -d "$DISK" --task upgrade --public-key "$KEY" && sync "$DISK"';
  const env = {
    ...process.env,
    ...{ CA: caFile, URL: files.urls[scheme], FWUP: fwup, DISK: board.disk },
    KEY: signingKey.publicKeyBase64,
  };
  const fromMs = performance.now();
  const child = spawn("sh", ["-c", line], { env, stdio: ["ignore", "pipe", "inherit"] });
  let printed = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (printed += text));
  const [code] = (await once(child, "close")) as [number | null];
  const tookMs = performance.now() - fromMs;
  if (code !== 0) throw new Error(`curl | fwup ended with ${code ?? "a signal"}: ${printed}`);
  await board.remove();
  return tookMs;
}
