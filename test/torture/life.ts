/** One life of an agent: from the boot of its board until a reboot, a power cut or an end by itself. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "smol-toml";
import type { BoardPlace, Tables } from "../agent/factory.ts";
import type { Boot } from "./boot-loader.ts";
import { parseChangeLog, type Change } from "./change-log.ts";
import { forgetAgent, markCut, readLifeState, writeLifeFaults, type LifeFaults } from "./life-faults.ts";
import { endProcessesIn, LIFE_FOLDER } from "./left-processes.ts";
import {
  afterCut,
  type Cut,
  DISK,
  type Medium,
  readMedium,
  switchIsUnflushed,
  withUnlogged,
  writeMedium,
} from "./medium.ts";
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
  /** Whether the disk is missing until {@link Life.showDisk}. */
  readonly diskIsLate: boolean;
  /** How far the wall clock is ahead, seconds. */
  readonly aheadS: number;
}

/**
 * How a life ended: by the reboot that the agent asked for, in a power cut, on request, or by itself, which is
 * always a fault.
 */
export type Ending = "rebooted" | "cut" | "stopped" | "crashed";

/** The exit code of an agent that finds another one at work. */
const IS_SECOND = 69;

/** An agent's process, started when its board boots; its supervisor starts another one when it is killed. */
export class Life {
  readonly ended: Promise<Ending>;
  readonly #options: LifeOptions;
  readonly #folder: string;
  readonly #config: string;
  readonly #state: string;
  readonly #changes: string;
  readonly #rebooted: string;
  readonly #inodes: ReadonlyMap<number, string>;
  #child: ChildProcess | undefined;
  #log = "";
  #asked = false;
  #end: (ending: Ending) => void = () => undefined;
  #fail: (error: Error) => void = () => undefined;
  /** Whether the supervisor still has to start the agent again. */
  #mayBeKilled: boolean;

  constructor(options: LifeOptions) {
    const { dir, medium } = options;
    this.#options = options;
    mkdirSync(dir, { recursive: true });
    this.#folder = join(dir, "medium");
    this.#config = join(dir, "config.toml");
    this.#state = join(dir, "state");
    this.#changes = join(dir, "changes");
    this.#rebooted = join(dir, "rebooted");
    this.#mayBeKilled = options.faults.killAgentAtWrite !== undefined;
    this.#inodes = writeMedium(medium, this.#folder);
    writeFileSync(this.#config, stringify(configOf(options, this.#folder, this.#rebooted)), { mode: 0o600 });
    writeBootFacts(dir, options);
    writeLifeFaults(this.#state, options.faults, options.aheadS);
    writeFileSync(this.#changes, "");
    this.ended = new Promise((resolve, reject) => {
      this.#end = resolve;
      this.#fail = reject;
    });
    if (options.diskIsLate) renameSync(this.#disk, `${this.#disk}.late`);
    this.#child = this.#start();
  }

  get log(): string {
    return this.#log;
  }

  /** One line for each thread of the agent and of its children: what it does in the kernel. */
  threads(): string {
    return this.#child?.pid === undefined ? "" : threadsOf(this.#child.pid);
  }

  /** The disk shows up. */
  showDisk(): void {
    if (existsSync(`${this.#disk}.late`)) renameSync(`${this.#disk}.late`, this.#disk);
  }

  /** Somebody installs firmware by hand. @returns fwup's exit code */
  async installByHand(path: string): Promise<number | null> {
    const { world } = this.#options;
    const args = ["-aq", "--no-unmount", "-d", this.#disk, "-t", "upgrade", "-i", path];
    const child = spawn(world.fwup, args, { stdio: "ignore", env: this.#environment });
    const [code] = (await once(child, "exit")) as [number | null];
    return code;
  }

  /** Kills the agent, and starts another one in the same boot. */
  async restartAgent(): Promise<void> {
    const killed = this.#child;
    this.#child = undefined;
    killed?.kill("SIGKILL");
    if (killed !== undefined && killed.exitCode === null && killed.signalCode === null)
      await once(killed, "exit");
    // Whoever asked for the end meanwhile found no agent to tell.
    if (this.#asked) this.#end("stopped");
    else this.#child = this.#start();
  }

  /** Starts a second agent at once. @returns whether one of both ended because of the other */
  async startSecond(): Promise<boolean> {
    const first = this.#child;
    const second = this.#start();
    const ends = [first, second].map(async (child) => {
      const [code] = (await once(child ?? second, "exit")) as [number | null];
      return { child, code };
    });
    const { child, code } = await Promise.race([
      ...ends,
      this.ended.then(() => ({ child: first, code: null })),
    ]);
    if (code !== IS_SECOND) second.kill("SIGKILL");
    else if (child === first) this.#child = second;
    return code === IS_SECOND;
  }

  /** All changes of the medium so far. */
  changes(): readonly Change[] {
    const { logBytes } = readLifeState(this.#state);
    return parseChangeLog(readFileSync(this.#changes).subarray(0, logBytes));
  }

  /** See {@link switchIsUnflushed}. */
  get switchIsUnflushed(): boolean {
    const inode = [...this.#inodes].find(([, name]) => name === DISK)?.[0];
    return inode !== undefined && switchIsUnflushed(this.changes(), inode, this.#options.model.layout);
  }

  /** Makes the power fail now. */
  cutPower(): void {
    markCut(this.#state);
    this.#child?.kill("SIGKILL");
  }

  async stop(): Promise<void> {
    this.#asked = true;
    this.#child?.kill("SIGTERM");
    await this.ended;
  }

  /** Ends the process in any state. */
  async kill(): Promise<void> {
    this.#asked = true;
    this.#mayBeKilled = false;
    this.#child?.kill("SIGKILL");
    await this.ended;
  }

  /**
   * The medium that the next boot finds, after a power cut or a reboot that keeps as much; call it after the life has
   * ended.
   * @throws Error when the log does not have all changes
   */
  mediumAfter(cut: Cut): Medium {
    const { medium, dir } = this.#options;
    endProcessesIn(dir); // a killed agent's fwup ends with its board
    const { isCut, isChanging } = readLifeState(this.#state);
    let changes = this.changes();
    if (isCut) return afterCut(medium, this.#inodes, changes, cut);
    const found = readMedium(this.#folder);
    const { direct, random } = cut;
    const logged = afterCut(medium, this.#inodes, changes, { kept: "all", direct, random });
    const disks = { found: found.get(DISK) ?? Buffer.alloc(0), logged: logged.get(DISK) ?? Buffer.alloc(0) };
    if (!disks.found.equals(disks.logged)) {
      const inode = statSync(this.#disk).ino;
      const all = withUnlogged(changes, { ...disks, inode, endsInChange: isChanging });
      if (all === undefined)
        throw new Error("the disk holds something that is not in the log of its changes");
      changes = all;
    }
    return cut.kept === "all" ? found : afterCut(medium, this.#inodes, changes, cut);
  }

  get #disk(): string {
    return join(this.#folder, DISK);
  }

  get #environment(): NodeJS.ProcessEnv {
    const { world, dir } = this.#options;
    return {
      ...environmentOf(world, dir),
      TORTURE_MEDIUM: this.#folder,
      TORTURE_LOG: this.#changes,
      TORTURE_STATE: this.#state,
    };
  }

  #start(): ChildProcess {
    const { world } = this.#options;
    forgetAgent(this.#state);
    const child = spawn(process.execPath, [world.agent, "run", "--config", this.#config], {
      stdio: ["ignore", "ignore", "pipe"],
      env: this.#environment,
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => (this.#log += text));
    child.once("error", this.#fail);
    child.once("exit", (code) => {
      if (this.#child !== child) return;
      if (readLifeState(this.#state).isCut) this.#end("cut");
      else if (existsSync(this.#rebooted)) this.#end("rebooted");
      else if (this.#mayBeKilled && child.signalCode === "SIGKILL") {
        this.#mayBeKilled = false;
        this.#child = this.#start();
      } else if (code !== IS_SECOND || this.#asked)
        this.#end(this.#asked && code === 0 ? "stopped" : "crashed");
    });
    return child;
  }
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
  return model.factory.config(
    place,
    {
      firmware: { fwup: world.fwup },
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
  writeFileSync(join(dir, "model"), "Torture Board\0");
}

export function environmentOf(world: World, dir: string): NodeJS.ProcessEnv {
  return {
    PATH: `${world.bin}:${process.env["PATH"] ?? ""}`,
    LD_PRELOAD: world.preload,
    UV_USE_IO_URING: "0", // its writes would bypass the log
    [LIFE_FOLDER]: dir,
  };
}
