/** `hublink revert` on the board that a round leaves. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "smol-toml";
import { boot, DeadBoard } from "./boot-loader.ts";
import { configOf, environmentOf, writeBootFacts, type LifeOptions } from "./life.ts";
import { DISK, readMedium, writeMedium } from "./medium.ts";

/**
 * Runs `hublink revert` on a copy of the board, without a daemon: it must lead to a slot that boots, or
 * refuse and leave the slots as they are.
 * @returns the problem, if there is one
 */
export async function tryRevert(options: LifeOptions): Promise<string | undefined> {
  const { world, model, dir, medium, boot: running } = options;
  const folder = join(dir, "medium");
  mkdirSync(dir, { recursive: true });
  writeMedium(medium, folder);
  const config = join(dir, "config.toml");
  writeFileSync(config, stringify(configOf(options, folder, join(dir, "rebooted"))), { mode: 0o600 });
  writeBootFacts(dir, options);
  const child = spawn(process.execPath, [world.agent, "revert", "--config", config], {
    stdio: "ignore",
    env: environmentOf(world, dir),
  });
  const [code] = (await once(child, "exit")) as [number | null];
  const disk = readMedium(folder).get(DISK) ?? Buffer.alloc(0);
  rmSync(dir, { recursive: true });
  try {
    const next = boot(disk, model.layout, model.known);
    if (next.failedTries.length > 0) return `exit status ${code ?? "none"}, and what it left does not boot`;
    if (code === 0 && next.slot === running.slot) return "it said to have gone back, and the same slot boots";
    return undefined;
  } catch (error) {
    if (!(error instanceof DeadBoard)) throw error;
    return error.message;
  }
}
