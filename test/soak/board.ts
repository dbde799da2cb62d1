/**
 * The board of a soak: the bundled agent in a process of its own, on a disk image, and the hub in this process. What
 * the hub keeps of the board is thrown away between the activities, or the hub itself would fill the memory.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "smol-toml";
import { Factory, IDENTIFIER } from "../agent/factory.ts";
import { inTime } from "../eventually.ts";
import { makeBoard } from "../fwup/archive.ts";
import type { DeviceRecord } from "../hub/device-record.ts";
import { startHub, type Hub } from "../hub/server.ts";
import { PROBE, sampleOf, type Sample } from "./memory.ts";

const MAX_LOG_CHARS = 8192;
const KIB = 1024;

/** A board whose agent runs. */
export class SoakBoard {
  readonly hub: Hub;
  readonly factory: Factory;
  readonly dir: string;
  readonly controlSocket: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  readonly #joinedTopics = new Set<unknown>();
  readonly #startMs = performance.now();
  #log = "";

  private constructor(dir: string, hub: Hub, factory: Factory, child: ChildProcess) {
    this.dir = dir;
    this.hub = hub;
    this.factory = factory;
    this.controlSocket = join(dir, "hublink.sock");
    this.#child = child;
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#log = (this.#log + text).slice(-MAX_LOG_CHARS);
    });
    this.#ended = once(child, "exit");
    hub.follow(IDENTIFIER, ({ topic, event }) => {
      if (event === "phx_join") this.#joinedTopics.add(topic);
    });
  }

  /** @param agent the bundle */
  static async start(agent: string): Promise<SoakBoard> {
    const dir = await mkdtemp(join(tmpdir(), "hublink-soak-"));
    const factory = await Factory.open(dir);
    const { path } = await factory.firmware("1.0.0");
    const { disk, fwEnvConfig } = await makeBoard({ dir, firmware: path });
    const hub = await startHub({ tls: factory.hubTls, publicKeys: [factory.signingKey.publicKeyBase64] });
    const configFile = join(dir, "config.toml");
    const place = {
      ...{ hubUrl: hub.url, disk, fwEnvConfig, rebootCommand: "true" },
      ...{ stateDir: join(dir, "state"), controlSocket: join(dir, "hublink.sock") },
    };
    await mkdir(join(dir, "uploads"));
    const config = factory.config(place, {
      hub: { heartbeat_s: 10, reconnect: { min_s: 0.01, max_s: 0.05, spread_s: 0 } },
      update: { mode: "auto" },
      console: { enabled: true, upload_dir: join(dir, "uploads") },
      scripts: { enabled: true },
      extensions: { geo: true, local_shell: true, logging: true, network_identity: true },
      geo: { source: "command:echo 47.3769, 8.5417" },
      network_identity: { services: { tailscale: "command:echo board-1.tailnet" } },
    });
    await writeFile(configFile, stringify(config), { mode: 0o600 });
    const probe = join(dir, "probe.cjs");
    await writeFile(probe, PROBE);
    const args = ["--require", probe, agent, "run", "--config", configFile];
    const child = spawn(process.execPath, args, {
      stdio: ["ignore", "ignore", "pipe", "ipc"],
      env: { ...process.env, ...(await serviceEnvironment()) },
    });
    const board = new SoakBoard(dir, hub, factory, child);
    await board.untilBack();
    return board;
  }

  get record(): DeviceRecord {
    return this.hub.device(IDENTIFIER);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get log(): string {
    return this.#log;
  }

  /** Waits for what the agent does. @throws Error with the end of the agent's log */
  async until(condition: () => boolean, what: string): Promise<void> {
    const gone = this.#ended.then(() => {
      throw new Error("the agent has ended");
    });
    await Promise.race([this.hub.until(condition), gone]).catch((error: unknown) => {
      throw new Error(`not so: ${what}`, { cause: error });
    });
  }

  /** Waits until the agent has joined all of its topics, again if `forget` was called. */
  async untilBack(): Promise<void> {
    const topics = ["device", "console", "extensions"];
    const isBack = (): boolean => topics.every((topic) => this.#joinedTopics.has(topic));
    await this.until(() => isBack() && this.record.online, "all topics are joined");
  }

  /** Waits for all topics from now on, and throws away what the hub keeps. */
  forget(): void {
    this.#joinedTopics.clear();
    this.forgetMessages();
  }

  forgetMessages(): void {
    const { received, statuses, progress, joins, closes, crashes } = this.record;
    for (const list of [received, statuses, progress, joins, closes, crashes]) list.length = 0;
    this.record.console = "";
  }

  /** The text that the agent sent in these events since the last `forgetMessages`. */
  shown(topic: string, event: string): string {
    return this.record.received
      .flatMap((message) =>
        message.topic === topic && message.event === event
          ? [(message.payload as { data: string }).data]
          : [],
      )
      .join("");
  }

  async sample(): Promise<Sample> {
    const answer = once(this.#child, "message");
    this.#child.send({});
    const [usage] = (await inTime(answer, "the agent's memory")) as [NodeJS.MemoryUsage];
    return await sampleOf(this.pid, usage, (performance.now() - this.#startMs) / 1000);
  }

  /** Has the agent read its configuration again, as after an operator's change. */
  reload(): void {
    this.#child.kill("SIGHUP");
  }

  /** @throws Error when the agent does not end as it should */
  async stop(): Promise<void> {
    this.#child.kill("SIGTERM");
    await inTime(this.#ended, "the agent ends");
    await this.hub.stop();
    await rm(this.dir, { recursive: true, maxRetries: 3 });
  }

  /** A file on the board. */
  async file(name: string, sizeKib: number): Promise<string> {
    const path = join(this.dir, name);
    await writeFile(path, Buffer.alloc(sizeKib * KIB, name));
    return path;
  }
}

/** The variables that the board's service sets: they decide how much memory malloc keeps. */
async function serviceEnvironment(): Promise<Record<string, string>> {
  const service = await readFile(
    join(import.meta.dirname, "../../buildroot/package/hublink/hublink.service"),
    "utf8",
  );
  const [, line = ""] = /^Environment=(.*)$/m.exec(service) ?? [];
  return Object.fromEntries(line.split(" ").map((word) => word.split("=", 2) as [string, string]));
}
