import { EventEmitter, once } from "node:events";
import { existsSync, readFileSync, watch } from "node:fs";
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
import {
  generateSigningKey,
  makeBoard,
  makeFirmware,
  makeOps,
  type MadeFirmware,
  type SigningKey,
} from "../fwup/archive.ts";
import { realFwup, STAND_IN } from "../fwup/run.ts";
import { writeCertificates, type CertificateFiles } from "../hub/certificates.ts";
import { startHub, type Hub, type HubOptions } from "../hub/server.ts";

export const IDENTIFIER = "board-1";

export interface TestBoardOptions {
  readonly hub?: Partial<HubOptions>;
  /** Tables of the configuration that differ, as TOML would give them. */
  readonly config?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
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
  /** What runs on the board when it leaves the factory. */
  readonly v1: MadeFirmware;
  /** The root folder that the agent sees. */
  readonly root: string;
  /** Lines of the agent's log so far. */
  readonly logged: readonly string[];
  config(overrides?: TestBoardOptions["config"]): Config;
  /** Writes the configuration as a file, for an agent in a process of its own. */
  writeConfig(overrides?: TestBoardOptions["config"]): Promise<string>;
  /** Makes firmware of that version for this board. */
  firmware(version: string, overrides?: Partial<Parameters<typeof makeFirmware>[0]>): Promise<MadeFirmware>;
  /** Starts the agent in this process. */
  start(overrides?: TestBoardOptions["config"]): Promise<Agent>;
  /** Stops the agent and starts it again, which is what a reboot is to it. */
  restart(overrides?: TestBoardOptions["config"]): Promise<Agent>;
  /** Resolves when a line of the agent's log matches, also one that is already there. */
  saw(line: RegExp): Promise<void>;
  environment(): Promise<Variables>;
  /** What somebody else, such as the boot loader, writes. */
  setEnvironment(variables: Readonly<Record<string, string>>): Promise<void>;
  /** Resolves when the board has been told to reboot so often. */
  untilRebooted(times: number): Promise<void>;
  /** What the boot script passes. */
  setKernelCommandLine(text: string): Promise<void>;
  /** The disk's first block. */
  partitionTable(): Promise<Buffer>;
  setPartitionTable(block: Buffer): Promise<void>;
  /** The kernel's id of this boot. */
  setBootId(id: string): Promise<void>;
  /** The power fails before the agent could note that it asked for a reboot. */
  forgetReboot(): Promise<void>;
  remove(): Promise<void>;
}

const SMALL = 2 * 1024 * 1024;

export async function setUpBoard(options: TestBoardOptions = {}): Promise<TestBoard> {
  const dir = await mkdtemp(join(tmpdir(), "hublink-board-"));
  const root = join(dir, "root");
  await mkdir(join(root, "proc/sys/kernel/random"), { recursive: true });
  await writeFile(join(root, "proc/cmdline"), "console=ttyAMA0\n");
  await writeFile(join(root, "proc/sys/kernel/random/boot_id"), "boot-1\n");
  await keepFromRebooting(dir);
  const signingKey = generateSigningKey();
  const certificates = await writeCertificates(join(dir, "pki"), [IDENTIFIER]);
  const firmware: TestBoard["firmware"] = async (version, overrides = {}) =>
    makeFirmware({
      path: join(dir, `${version}.fw`),
      product: "demo-board",
      platform: "rpi0",
      architecture: "arm",
      version,
      rootfs: { sizeBytes: SMALL, seed: version },
      privateKey: signingKey.privateKey,
      ...overrides,
    });
  const v1 = await firmware("1.0.0");
  const { disk, fwEnvConfig } = await makeBoard({ dir, firmware: v1.path });
  const opsFile = join(dir, "ops.fw");
  if (options.ops ?? true) await makeOps({ path: opsFile });
  const tls = {
    cert: await readFile(certificates.server.certFile, "utf8"),
    key: await readFile(certificates.server.keyFile, "utf8"),
    ca: await readFile(certificates.caFile, "utf8"),
    clientCertificates: "required",
  } as const;
  const hub = await startHub({ tls, publicKeys: [signingKey.publicKeyBase64], ...options.hub });
  const device = certificates.devices.get(IDENTIFIER);
  const rebooted = join(dir, "reboots");

  const tables = (overrides: TestBoardOptions["config"] = {}): Record<string, Record<string, unknown>> => {
    const base: Record<string, Record<string, unknown>> = {
      hub: { url: hub.url, ca_file: certificates.caFile, reconnect: { min_s: 0.01, max_s: 0.05 } },
      identity: { file: { cert_file: device?.certFile, key_file: device?.keyFile } },
      firmware: {
        devpath: disk,
        fwup: realFwup() ?? STAND_IN,
        uboot_env_config: fwEnvConfig,
        ops_file: opsFile,
      },
      update: { retry: { delay_s: 0.01 } },
      reboot: { command: `echo x >> ${rebooted}`, escalate_s: 3600 },
      state: { dir: join(dir, "state"), control_socket: join(dir, "hublink.sock") },
    };
    for (const part of [options.config ?? {}, overrides]) {
      for (const [name, table] of Object.entries(part)) base[name] = { ...base[name], ...table };
    }
    return base;
  };
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
  const start: TestBoard["start"] = async (overrides) => {
    const clock = options.clock ?? systemClock;
    agent = await startAgent({ config: config(overrides), clock, random: Math.random, log, root });
    return agent;
  };
  const stop = async (): Promise<void> => {
    await agent?.stop();
    agent = undefined;
  };

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
    firmware,
    start,
    async restart(overrides) {
      await stop();
      return await start(overrides);
    },
    async saw(line) {
      const signal = AbortSignal.timeout(PATIENCE_MS);
      while (!logged.some((text) => line.test(text))) await once(onLine, "line", { signal });
    },
    environment: async () => readEnvironment(fwEnvConfig),
    setEnvironment: async (variables) => writeVariables(fwEnvConfig, new Map(Object.entries(variables))),
    async untilRebooted(times) {
      await untilInFolder(
        dir,
        () => existsSync(rebooted) && readFileSync(rebooted, "utf8").length >= 2 * times,
      );
    },
    setKernelCommandLine: async (text) => writeFile(join(root, "proc/cmdline"), `${text}\n`),
    partitionTable: async () => (await readFile(disk)).subarray(0, 512),
    async setPartitionTable(block) {
      const file = await open(disk, "r+");
      await file.write(block, 0, block.length, 0);
      await file.close();
    },
    setBootId: async (id) => writeFile(join(root, "proc/sys/kernel/random/boot_id"), `${id}\n`),
    async forgetReboot() {
      const journal = join(dir, "state/journal.json");
      await writeFile(
        journal,
        (await readFile(journal, "utf8")).replace('"rebootAsked":true', '"rebootAsked":false'),
      );
    },
    async remove() {
      await stop();
      await hub.stop();
      await rm(dir, { recursive: true });
    },
  };
}

/** A `reboot` before the system's own on the PATH: no test may ever reboot the machine it runs on. */
async function keepFromRebooting(dir: string): Promise<void> {
  const bin = join(dir, "bin");
  await mkdir(bin);
  await writeFile(join(bin, "reboot"), `#!/bin/sh\necho "reboot $*" >> ${join(dir, "system-reboots")}\n`, {
    mode: 0o755,
  });
  process.env["PATH"] = `${bin}:${process.env["PATH"] ?? ""}`;
}

/** Nothing waits for so long when all is well; a test that waits in vain is to fail, not to hang. */
const PATIENCE_MS = 30_000;

/** Resolves when a condition on a folder's files holds; looked at whenever one changes. */
async function untilInFolder(folder: string, holds: () => boolean): Promise<void> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const watcher = watch(folder);
  try {
    while (!holds()) await once(watcher, "change", { signal });
  } finally {
    watcher.close();
  }
}
