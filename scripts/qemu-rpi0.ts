/** Plays scenarios with a Raspberry Pi Zero in QEMU: those that are named, or all of them. */
import { rmSync } from "node:fs";
import { mkdir, mkdtemp } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setUpBoard, type Scenario } from "./qemu/board.ts";
import { Freeze } from "./qemu/machine.ts";
import { patience } from "./qemu/patience.ts";
import { buildParts, type Parts } from "./qemu/parts.ts";
import { clock } from "./qemu/scenarios/clock.ts";
import { components } from "./qemu/scenarios/components.ts";
import { remoteConsole } from "./qemu/scenarios/console.ts";
import { armedWatchdog, deadAgent, fallback, tornKernel, unreachable } from "./qemu/scenarios/fallback.ts";
import { gpioWatchdog } from "./qemu/scenarios/gpio-watchdog.ts";
import { powercut } from "./qemu/scenarios/powercut.ts";
import { reboot } from "./qemu/scenarios/reboot.ts";
import { softdog } from "./qemu/scenarios/softdog.ts";
import { update } from "./qemu/scenarios/update.ts";
import { beginStory, seconds } from "./qemu/story.ts";

const SCENARIOS = new Map<string, Scenario>(
  Object.entries({
    update,
    fallback,
    powercut,
    reboot,
    console: remoteConsole,
    "gpio-watchdog": gpioWatchdog,
    softdog,
    clock,
    components,
    unreachable,
    "torn-kernel": tornKernel,
    "armed-watchdog": armedWatchdog,
    "dead-agent": deadAgent,
  }),
);
/** The limit for a scenario; each of them takes minutes. */
const LIMIT_MS = 1_800_000;

const [cache = "", agent = "", ...given] = process.argv.slice(2);
const names = given.length === 0 ? [...SCENARIOS.keys()] : given;
const unknown = names.find((name) => !SCENARIOS.has(name));
if (unknown !== undefined) {
  process.stderr.write(`there is no scenario ${unknown}; there are ${[...SCENARIOS.keys()].join(", ")}\n`);
  process.exit(64);
}

const { stdout } = process;
const work = await mkdtemp(join(resolve(cache), "work-"));
process.once("exit", () => rmSync(work, { recursive: true }));
stdout.write("qemu-rpi0: building U-Boot's script, kernel images, root file systems and firmware\n");
const parts = await buildParts(resolve(cache, "debian/root"), resolve(agent), work);
stdout.write(`qemu-rpi0: the board runs the packaged agent and ${parts.fwup}\n`);

const results: string[] = [];
for (const name of names) {
  const startedMs = performance.now();
  const passed = await playOrRetry(name, parts);
  const took = seconds(performance.now() - startedMs);
  results.push(`  ${name.padEnd(13)} ${(passed ? "passed" : "FAILED").padEnd(8)} ${took.padStart(8)}`);
  if (!passed) process.exitCode = 1;
}
stdout.write(`\n${results.join("\n")}\n`);

/** Plays a scenario. If the board freezes, which is QEMU's fault, plays it once more on a new card. */
async function playOrRetry(name: string, from: Parts): Promise<boolean> {
  try {
    await play(name, "", from);
  } catch (error) {
    if (!(error instanceof Freeze)) return report(name, error);
    stdout.write(`           ${error.message}: once more\n`);
    try {
      await play(name, "-again", from);
    } catch (again) {
      return report(name, again);
    }
  }
  return true;
}

function report(name: string, error: unknown): false {
  stdout.write(`           ${name} failed: ${error instanceof Error ? error.message : String(error)}\n`);
  return false;
}

async function play(name: string, suffix: string, from: Parts): Promise<void> {
  const scenario = SCENARIOS.get(name);
  if (scenario === undefined) return; // the names were checked above
  const logs = resolve(cache, "logs", `${name}${suffix}`);
  await mkdir(logs, { recursive: true });
  stdout.write(`\n${name}: what the board says is in ${join(logs, "console.txt")}\n`);
  const story = beginStory(join(logs, "story.txt"));
  const board = await setUpBoard(from, logs, story, scenario.board);
  const remove = (): void => void board.remove().finally(() => process.exit(130));
  process.once("SIGINT", remove).once("SIGTERM", remove);
  let limit: NodeJS.Timeout | undefined;
  try {
    const limitMs = patience(LIMIT_MS);
    const over = new Promise<never>((_, reject) => {
      limit = setTimeout(() => reject(new Error(`not done within ${seconds(limitMs)}`)), limitMs);
    });
    await Promise.race([scenario.play(board), over]);
  } finally {
    clearTimeout(limit);
    process.off("SIGINT", remove).off("SIGTERM", remove);
    await board.remove();
  }
}
