/**
 * A whole board for tests: a disk image, the agent in the test's process or in one of its own, and the
 * stand-in hub. A test can restart the agent, reboot the board, and play its boot loader.
 */
import { randomUUID } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "smol-toml";
import { startAgent, type Agent } from "../../src/agent/agent.ts";
import { checkConfig } from "../../src/config/check.ts";
import type { Config } from "../../src/config/schema.ts";
import { readEnvironment, writeVariables, type Variables } from "../../src/firmware/uboot-environment.ts";
import { systemClock, type Clock } from "../../src/platform/clock.ts";
import { createLog, type Log } from "../../src/platform/log.ts";
import { systemWorld } from "../../src/platform/world.ts";
import {
  copyBoard,
  makeBoard,
  type FirmwareOptions,
  type MadeFirmware,
  type SigningKey,
} from "../fwup/archive.ts";
import { eventually, inTime } from "../eventually.ts";
import type { CertificateFiles } from "../hub/certificates.ts";
import { startHub, type Hub, type HubOptions } from "../hub/server.ts";
import { Factory, type BoardPlace, type Tables } from "./factory.ts";

export { IDENTIFIER } from "./factory.ts";

export interface TestBoardOptions {
  readonly hub?: Partial<HubOptions>;
  /** Tables of the configuration that differ, as TOML would give them. */
  readonly config?: Tables;
  readonly ops?: boolean;
  readonly clock?: Clock;
}

/** A board with a disk image, a hub on loopback with TLS and client certificates, and firmware for it. */
export interface TestBoard {
  readonly dir: string;
  readonly hub: Hub;
  readonly certificates: CertificateFiles;
  readonly signingKey: SigningKey;
  readonly disk: string;
  /** The firmware of the board when it leaves the factory. */
  readonly v1: MadeFirmware;
  /** The root folder that the agent sees. */
  readonly root: string;
  /** Lines of the agent's log so far. */
  readonly logged: readonly string[];
  config(overrides?: TestBoardOptions["config"]): Config;
  /** Writes the configuration as a file, for an agent in a process of its own. */
  writeConfig(overrides?: TestBoardOptions["config"]): Promise<string>;
  /** Makes firmware of that version for this board. */
  firmware(version: string, overrides?: Partial<FirmwareOptions>): Promise<MadeFirmware>;
  /** Starts the agent in this process. */
  start(overrides?: TestBoardOptions["config"]): Promise<Agent>;
  /** Stops the agent and starts it again, in the same boot. */
  restart(overrides?: TestBoardOptions["config"]): Promise<Agent>;
  /** The same, after a reboot that failed. */
  restartStranded(overrides?: TestBoardOptions["config"]): Promise<Agent>;
  /** The same as `restart`, in the next boot. */
  reboot(overrides?: TestBoardOptions["config"]): Promise<Agent>;
  /** Resolves when a line of the agent's log matches, also one that is already there. */
  saw(line: RegExp): Promise<void>;
  environment(): Promise<Variables>;
  /** Writes variables as another program does, such as the boot loader. */
  setEnvironment(variables: Readonly<Record<string, string>>): Promise<void>;
  /** Resolves when the agent has asked for `times` reboots. */
  untilRebooted(times: number): Promise<void>;
  /** Sets the kernel's command line, as the boot script passes it. */
  setKernelCommandLine(text: string): Promise<void>;
  /** The disk's first block. */
  partitionTable(): Promise<Buffer>;
  setPartitionTable(block: Buffer): Promise<void>;
  /** The kernel's id of this boot. */
  setBootId(id: string): Promise<void>;
  /** The power fails before the agent could note that it asked for a reboot. */
  forgetReboot(): Promise<void>;
  /** The agent is killed after fwup has finished and before it could note that. */
  forgetEnd(): Promise<void>;
  remove(): Promise<void>;
}

export async function setUpBoard(options: TestBoardOptions = {}): Promise<TestBoard> {
  const dir = await mkdtemp(join(tmpdir(), "hublink-board-"));
  const root = join(dir, "root");
  await mkdir(join(root, "proc/sys/kernel/random"), { recursive: true });
  await writeFile(join(root, "proc/cmdline"), "console=ttyAMA0\n");
  await writeFile(join(root, "proc/sys/kernel/random/boot_id"), "boot-1\n");
  await keepFromTheMachine(dir);
  const pattern = await boardPattern();
  const factory = await pattern.factory.copyTo(dir);
  if (options.ops === false) await rm(factory.opsFile);
  const { signingKey, certificates } = factory;
  const v1 = await factory.firmware("1.0.0");
  const { disk, fwEnvConfig } = await copyBoard(pattern.disk, dir);
  const hub = await startHub({
    tls: factory.hubTls,
    publicKeys: [signingKey.publicKeyBase64],
    ...options.hub,
  });
  const rebooted = join(dir, "reboots");
  const place: BoardPlace = {
    hubUrl: hub.url,
    disk,
    fwEnvConfig,
    stateDir: join(dir, "state"),
    controlSocket: join(dir, "hublink.sock"),
    rebootCommand: `echo x >> ${rebooted}`,
  };
  const tables = (overrides: Tables = {}): Tables => factory.config(place, options.config ?? {}, overrides);
  const config: TestBoard["config"] = (overrides) => checkConfig(tables(overrides), {}, "test").config;

  const logged: string[] = [];
  const onLine = new EventEmitter();
  const log: Log = createLog({
    level: "debug",
    format: "text",
    now: () => Date.now(),
    write: (line) => {
      logged.push(line);
      onLine.emit("line");
      if (process.env["HUBLINK_TEST_LOG"] !== undefined) process.stderr.write(`${line}\n`);
    },
  });
  let agent: Agent | undefined;
  const start = async (overrides?: Tables, afterStranded = false): Promise<Agent> => {
    const clock = options.clock ?? systemClock;
    agent = await startAgent({
      config: config(overrides),
      world: { ...systemWorld, clock, root },
      log,
      afterStranded,
    });
    return agent;
  };
  const stop = async (): Promise<void> => {
    await agent?.stop();
    agent = undefined;
  };

  const setBootId = async (id: string): Promise<void> =>
    writeFile(join(root, "proc/sys/kernel/random/boot_id"), `${id}\n`);

  return {
    dir,
    hub,
    certificates,
    signingKey,
    disk,
    v1,
    root,
    logged,
    config,
    async writeConfig(overrides) {
      const path = join(dir, "config.toml");
      await writeFile(path, stringify(tables(overrides)), { mode: 0o600 });
      return path;
    },
    firmware: async (version, overrides) => factory.firmware(version, overrides),
    start: async (overrides) => start(overrides),
    async restart(overrides) {
      await stop();
      return await start(overrides);
    },
    async restartStranded(overrides) {
      await stop();
      return await start(overrides, true);
    },
    async reboot(overrides) {
      await stop();
      await setBootId(randomUUID());
      return await start(overrides);
    },
    async saw(line) {
      const seen = async (): Promise<void> => {
        while (!logged.some((text) => line.test(text))) await once(onLine, "line");
      };
      await inTime(
        seen(),
        () => `${String(line)} in the log; its last lines:\n${logged.slice(-8).join("\n")}`,
      );
    },
    environment: async () => readEnvironment(fwEnvConfig),
    setEnvironment: async (variables) => writeVariables(fwEnvConfig, new Map(Object.entries(variables))),
    async untilRebooted(times) {
      await eventually(
        () => existsSync(rebooted) && readFileSync(rebooted, "utf8").length >= 2 * times,
        () => `${times} reboots; the log's last lines:\n${logged.slice(-8).join("\n")}`,
      );
    },
    setKernelCommandLine: async (text) => writeFile(join(root, "proc/cmdline"), `${text}\n`),
    partitionTable: async () => (await readFile(disk)).subarray(0, 512),
    async setPartitionTable(block) {
      const file = await open(disk, "r+");
      await file.write(block, 0, block.length, 0);
      await file.close();
    },
    setBootId,
    async forgetReboot() {
      const journal = join(dir, "state/journal.json");
      await writeFile(
        journal,
        (await readFile(journal, "utf8")).replaceAll('"rebootAsked":true', '"rebootAsked":false'),
      );
    },
    async forgetEnd() {
      await stop();
      const path = join(dir, "state/journal.json");
      const { installed, attempts, ...rest } = JSON.parse(await readFile(path, "utf8")) as {
        installed: object;
        attempts: object[];
      };
      const entries = {
        ...rest,
        installed: null,
        writing: { ...installed, rebootAsked: false },
        attempts: attempts.map((attempt) => ({ ...attempt, ended: null })),
      };
      await writeFile(path, JSON.stringify(entries));
    },
    async remove() {
      await stop();
      await hub.stop();
      await rm(dir, { recursive: true });
    },
  };
}

interface Pattern {
  readonly factory: Factory;
  /** A disk on which 1.0.0 runs. */
  readonly disk: string;
}

let pattern: Promise<Pattern> | undefined;

/** All boards of this process are copies of this one, since making it takes longer than many a test. */
async function boardPattern(): Promise<Pattern> {
  pattern ??= (async () => {
    const dir = await mkdtemp(join(tmpdir(), "hublink-pattern-"));
    process.once("exit", () => rmSync(dir, { recursive: true }));
    const factory = await Factory.open(dir);
    const { path } = await factory.firmware("1.0.0");
    const { disk } = await makeBoard({ dir, firmware: path });
    return { factory, disk };
  })();
  return pattern;
}

/** Stands before the system's own on the PATH: no test may reboot its machine, or set its clock. */
async function keepFromTheMachine(dir: string): Promise<void> {
  const bin = join(dir, "bin");
  await mkdir(bin);
  for (const name of ["reboot", "date"])
    await writeFile(join(bin, name), `#!/bin/sh\necho "${name} $*" >> ${join(dir, `system-${name}s`)}\n`, {
      mode: 0o755,
    });
  process.env["PATH"] = `${bin}:${process.env["PATH"] ?? ""}`;
}
