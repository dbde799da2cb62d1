/** Shows the main job on one screen: a board joins its hub, is updated, reboots, and proves its firmware good. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { formatBytes, formatSpan, renderProgress } from "../src/cli/progress-bar.ts";
import { IDENTIFIER, setUpBoard, type TestBoard } from "../test/agent/board.ts";
import { drip } from "../test/hub/faults.ts";
import { readDisk, type DiskContent } from "../test/fwup/disk-content.ts";
import { realFwup } from "../test/fwup/run.ts";

const AGENT = join(import.meta.dirname, "../dist/hublink.cjs");
const ROOTFS_BYTES = 4 * 1024 * 1024;
/** The speed of the download: slow enough to watch. */
const CHUNK_BYTES = 64 * 1024;
const CHUNK_MS = 40;

const { stdout } = process;
const startedMs = performance.now();
const elapsedMs = (): number => performance.now() - startedMs;
const print = (text: string): void => {
  stdout.write(`${`${(elapsedMs() / 1000).toFixed(1)} s`.padStart(7)}  ${text}\n`);
};

// The demo plays the board's init: the reboot command ends the agent, and boot() starts it again.
const board = await setUpBoard({ config: { reboot: { command: "kill -TERM $PPID", escalate_s: 3600 } } });
let agent: ChildProcess | undefined;
const interrupt = (): void => {
  agent?.kill("SIGKILL");
  void board.remove().finally(() => process.exit(130));
};
process.once("SIGINT", interrupt).once("SIGTERM", interrupt);
stdout.once("error", interrupt); // nobody reads any more, as in `| head`
try {
  await demo(board);
} finally {
  if (agent?.exitCode === null && agent.signalCode === null) {
    agent.kill("SIGTERM");
    await once(agent, "exit");
  }
  await board.remove();
}

async function demo({ hub, disk, ...board }: TestBoard): Promise<void> {
  const device = hub.device(IDENTIFIER);
  const config = await board.writeConfig();
  const fwup = realFwup() === undefined ? "the stand-in for fwup" : "the real fwup";
  print(`a hub listens on ${hub.url} and wants client certificates`);
  print(`a board is made: disk image, U-Boot environment, key, ${fwup}`);
  const before = await readDisk(disk, 0);

  boot(config);
  await hub.until(() => device.online);
  print(`${IDENTIFIER} has joined, running ${device.firmware?.["version"] ?? "?"}`);

  const update = await board.firmware("2.0.0", { rootfs: { sizeBytes: ROOTFS_BYTES, seed: "2.0.0" } });
  const release = await hub.publish(update.path, update.meta);
  hub.faults.add(drip(CHUNK_BYTES, CHUNK_MS));
  hub.deploy(release);
  print(`the hub offers 2.0.0: ${formatBytes(update.sizeBytes)}, signed, over a line as slow as a modem's`);
  const offeredMs = elapsedMs();
  let shown = -1;
  await hub.until(() => {
    const percent = device.progress.at(-1)?.value ?? 0;
    if (percent > shown) showProgress(percent, update.sizeBytes, elapsedMs() - offeredMs);
    shown = percent;
    return device.statuses.some(({ status }) => status === "completed" || status === "failed");
  });
  stdout.write("\n");
  const last = device.statuses.at(-1);
  if (last?.status !== "completed") throw new Error(`the update has failed: ${JSON.stringify(last)}`);
  print("it is in the other slot, which is the active one now");

  await rebooted();
  print("the board reboots");
  boot(config);
  await hub.waitFor(IDENTIFIER, ({ event }) => event === "firmware_validated");
  print(`${IDENTIFIER} has joined again, running ${device.firmware?.["version"] ?? "?"}, validated`);
  printTable(before, await readDisk(disk, 0));
  stdout.write(`\nDone in ${formatSpan(elapsedMs())}.\n`);
}

function boot(config: string): void {
  agent = spawn(process.execPath, [AGENT, "run", "--config", config], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let log = "";
  agent.stderr?.setEncoding("utf8").on("data", (text: string) => (log = (log + text).slice(-8192)));
  agent.once("exit", (code) => {
    if (code !== 0 && code !== null) stdout.write(`\nThe agent ended with ${code}. Its log:\n${log}\n`);
  });
}

async function rebooted(): Promise<void> {
  if (agent?.exitCode === null) await once(agent, "exit");
}

function showProgress(percent: number, sizeBytes: number, sinceMs: number): void {
  const bytes = (sizeBytes * percent) / 100;
  const line = renderProgress({ stage: "updating", percent, bytes }, sinceMs, 71);
  if (stdout.isTTY) stdout.write(`\r\x1b[K         ${line}`);
  else if (percent === 100) stdout.write(`         ${line}`);
}

function printTable(before: DiskContent, after: DiskContent): void {
  const row = (label: string, value: (disk: DiskContent) => string): void => {
    stdout.write(`  ${label.padEnd(20)}${value(before).padEnd(26)}${value(after)}\n`);
  };
  const active = ({ environment }: DiskContent): string => environment["nerves_fw_active"] ?? "?";
  const slot = (disk: DiskContent, name: string): string => {
    const version = disk.environment[`${name}.nerves_fw_version`];
    return version === undefined ? "empty" : version;
  };
  stdout.write(`\n  ${"".padEnd(20)}${"before".padEnd(26)}after\n`);
  row("active slot", active);
  row("slot a", (disk) => slot(disk, "a"));
  row("slot b", (disk) => slot(disk, "b"));
  row("partition 1 begins", ({ partition1Block }) => `block ${partition1Block ?? "?"}`);
  row("validated", ({ environment }) => (environment["nerves_fw_validated"] === "1" ? "yes" : "no"));
}
