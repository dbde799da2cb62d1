/** One life of an agent: from the boot of its board until a reboot, a power cut or an end by itself. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "smol-toml";
import type { BoardPlace, Tables } from "../agent/factory.ts";
import type { Boot } from "./boot-loader.ts";
import { parseChangeLog } from "./change-log.ts";
import { markCut, readLifeState, writeLifeFaults, type LifeFaults } from "./life-faults.ts";
import { afterCut, DISK, readMedium, writeMedium, type Cut, type Medium } from "./medium.ts";
import { threadsOf } from "./threads.ts";
import { environmentConfigOf, type Model, type World } from "./world.ts";

export interface LifeOptions {
  readonly world: World;
  readonly model: Model;
  /** An empty folder for all of this life. */
  readonly dir: string;
  /** The medium at the boot. */
  readonly medium: Medium;
  readonly boot: Boot;
  /** Whether the boot script passes the slot to the kernel. */
  readonly bootScriptTells: boolean;
  readonly bootId: string;
  readonly hubUrl: string;
  readonly config: Tables;
  readonly faults: LifeFaults;
  /** How far the wall clock is ahead, seconds. */
  readonly aheadS: number;
}

/**
 * How a life ended: by the reboot that the agent asked for, in a power cut, on request, or by itself, which is
 * always a fault.
 */
export type Ending = "rebooted" | "cut" | "stopped" | "crashed";

/** An agent's process, started when its board boots. */
export interface Life {
  readonly ended: Promise<Ending>;
  /** All changes of the medium so far. */
  readonly changes: number;
  readonly log: string;
  /** One line for each thread of the agent and of its children: what it does in the kernel. */
  threads(): string;
  /** Makes the power fail now. */
  cutPower(): void;
  stop(): Promise<void>;
  /** Ends the process in any state. */
  kill(): Promise<void>;
  /** The medium that the next boot finds; call it after the life has ended. */
  mediumAfter(cut: Cut): Medium;
}

/** Starts the agent on a board that has just booted. */
export function startLife(options: LifeOptions): Life {
  const { world, dir, medium } = options;
  const folder = join(dir, "medium");
  mkdirSync(dir, { recursive: true });
  const inodes = writeMedium(medium, folder);
  const rebooted = join(dir, "rebooted");
  const [config, state, changeLog] = ["config.toml", "state", "changes"].map((name) => join(dir, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(config, stringify(configOf(options, folder, rebooted)), { mode: 0o600 });
  writeBootFacts(dir, options);
  writeLifeFaults(state, options.faults);
  writeFileSync(changeLog, "");
  const child = spawn(process.execPath, [world.agent, "run", "--config", config], {
    stdio: ["ignore", "ignore", "pipe"],
    env: {
      ...environmentOf(world, dir, options.aheadS),
      ...{ TORTURE_MEDIUM: folder, TORTURE_LOG: changeLog, TORTURE_STATE: state },
    },
  });
  let log = "";
  let asked = false;
  child.stderr.setEncoding("utf8").on("data", (text: string) => (log += text));
  const ended = new Promise<Ending>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => {
      if (readLifeState(state).isCut) resolve("cut");
      else if (existsSync(rebooted)) resolve("rebooted");
      else resolve(asked && code === 0 ? "stopped" : "crashed");
    });
  });
  return {
    ended,
    get changes() {
      return readLifeState(state).changes;
    },
    get log() {
      return log;
    },
    threads: () => (child.pid === undefined ? "" : threadsOf(child.pid)),
    cutPower() {
      markCut(state);
      child.kill("SIGKILL");
    },
    async stop() {
      asked = true;
      child.kill("SIGTERM");
      await ended;
    },
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
    mediumAfter(cut) {
      if (!readLifeState(state).isCut) return readMedium(folder);
      return afterCut(medium, inodes, parseChangeLog(readFileSync(changeLog)), cut);
    },
  };
}

/**
 * The configuration of a board in the folder of a life. Commands beside the daemon use the same configuration.
 */
export function configOf(
  { world, model, dir, hubUrl, config }: LifeOptions,
  folder: string,
  rebooted: string,
): Tables {
  const disk = join(folder, DISK);
  const fwEnvConfig = join(dir, "fw_env.config");
  writeFileSync(fwEnvConfig, environmentConfigOf(model, disk));
  const place: BoardPlace = {
    hubUrl,
    disk,
    fwEnvConfig,
    stateDir: join(folder, "state"),
    controlSocket: join(dir, "hublink.sock"),
    // The shell's parent is the agent: it ends with its board, when all that it flushed is on the disk.
    rebootCommand: `: > ${rebooted} && kill -9 $PPID`,
  };
  const { firmware } = model.factory.config(place);
  return model.factory.config(
    place,
    {
      firmware: { ...firmware, fwup: world.fwup },
      update: { cache_dir: join(folder, "cache") },
      reboot: { grace_s: 0.01 },
      log: { level: "debug", format: "text" },
    },
    config,
  );
}

export function writeBootFacts(dir: string, { boot, bootScriptTells, bootId }: LifeOptions): void {
  const kernel = bootScriptTells ? boot.kernelCommandLine : "";
  writeFileSync(join(dir, "cmdline"), `console=ttyAMA0 ${kernel}\n`);
  writeFileSync(join(dir, "boot_id"), `${bootId}\n`);
}

export function environmentOf(world: World, dir: string, aheadS: number): NodeJS.ProcessEnv {
  return {
    PATH: `${world.bin}:${process.env["PATH"] ?? ""}`,
    LD_PRELOAD: world.preload,
    UV_USE_IO_URING: "0", // its writes would bypass the log
    TORTURE_PROC: dir,
    TORTURE_AHEAD_S: String(aheadS),
  };
}
