/**
 * The board that a scenario plays with: a machine, its card and its hub. Each step waits for what it names, and fails
 * with what came instead.
 */
import { once } from "node:events";
import { mkdir, readFile, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { writeCertificates } from "../../test/hub/certificates.ts";
import type { DeviceRecord } from "../../test/hub/device-record.ts";
import { startHub, type Hub } from "../../test/hub/server.ts";
import { makeCard } from "./card.ts";
import { powerOn, type Machine } from "./machine.ts";
import type { Parts, Version } from "./parts.ts";
import { patience } from "./patience.ts";
import { writeSettings, type BoardOptions } from "./settings.ts";
import type { Story } from "./story.ts";

const IDENTIFIER = "qemu-rpi0-1";
/** The limit for one step; a boot takes half a minute, an update two minutes. */
const STEP_MS = 600_000;
/** The levels of the GPIO lines, 32 to a word: BCM2835 ARM Peripherals, 6.1. */
const GPLEV0 = "0x20200034";
const MIB = 1024 * 1024;

/** A story: the board it needs, and what happens to it. */
export interface Scenario {
  readonly board?: BoardOptions;
  /** Begins with the board switched off. */
  play(board: Board): Promise<void>;
}

/** A board with its hub, as a scenario sees it. Each step prints what it has seen. */
export interface Board {
  readonly hub: Hub;
  readonly device: DeviceRecord;
  readonly say: Story["say"];
  powerOn(): void;
  /** Kills QEMU: nothing more is written, and nothing is sent. */
  cutPower(): Promise<void>;
  /** Waits until the boot script has started this slot and its system is up, just before the agent starts. */
  starts(slot: "a" | "b", version: Version, trial?: "on trial"): Promise<void>;
  /** Waits until the agent has joined once more. */
  joins(version: Version): Promise<void>;
  /** `starts`, then `joins`. */
  boots(slot: "a" | "b", version: Version, trial?: "on trial"): Promise<void>;
  /** The hub offers a version from now on. */
  deploy(version: Version): Promise<void>;
  /** Waits until the update has reached `percent`; prints its progress. */
  progress(percent: number): Promise<void>;
  /** Waits for the next message of this kind, and prints it. */
  message(event: string, holds?: (payload: Readonly<Record<string, unknown>>) => boolean): Promise<void>;
  /** Waits for the next line of the console that matches. */
  line(pattern: RegExp): Promise<RegExpExecArray>;
  /** The output of a command in the shell on the console. */
  run(command: string): Promise<string>;
  /** The output of a command in QEMU's monitor. */
  monitor(command: string): Promise<string>;
  /** Whether this line of the header is high. */
  isHigh(gpio: number): Promise<boolean>;
  /** Waits for the board's next pulse, and prints how much memory the agent uses. */
  memory(): Promise<void>;
  remove(): Promise<void>;
}

/**
 * Makes a board with 1.0.0 in slot A, and starts a hub for it.
 * @param dir for its card and keys, and the console's log
 */
export async function setUpBoard(
  parts: Parts,
  dir: string,
  story: Story,
  options: BoardOptions = {},
): Promise<Board> {
  await mkdir(dir, { recursive: true });
  const certificates = await writeCertificates(join(dir, "keys"), [IDENTIFIER]);
  const hub = await startHub({
    tls: {
      cert: await readFile(certificates.server.certFile, "utf8"),
      key: await readFile(certificates.server.keyFile, "utf8"),
      ca: await readFile(certificates.caFile, "utf8"),
      clientCertificates: options.secrets === undefined ? "required" : "optional",
    },
    ...(options.secrets !== undefined && { secrets: options.secrets }),
    ...(options.api !== undefined && { api: options.api }),
  });
  const time = await startTimeServer();
  const card = join(dir, "card.img");
  const consoleLog = join(dir, "console.txt");
  const settings = {
    hubUrl: hub.url,
    timeUrl: `http://10.0.2.2:${(time.address() as AddressInfo).port}/`,
    identifier: IDENTIFIER,
    certificates,
    publicKeyBase64: parts.signingKey.publicKeyBase64,
  };
  await makeCard({
    path: card,
    firmware: parts.firmware["1.0.0"].path,
    data: { ...parts.data, ...(await writeSettings(dir, settings, options)) },
  });
  await rm(consoleLog, { force: true });

  const device = hub.device(IDENTIFIER);
  let machine: Machine | undefined;
  let connections = 0;
  let messages = 0;
  let shownPercent = -1;
  /** The first progress report after the latest join; earlier ones belong to an earlier update. */
  let progressFrom = 0;
  const powered = (): Machine => {
    if (machine === undefined) throw new Error("the board is off");
    return machine;
  };
  const until = async (condition: () => boolean): Promise<void> =>
    Promise.race([hub.until(condition, patience(STEP_MS)), powered().failed]);
  const line: Board["line"] = async (pattern) => powered().line(pattern, patience(STEP_MS));
  const { say } = story;

  const board: Board = {
    hub,
    device,
    say,
    line,
    powerOn() {
      say("power on");
      machine = powerOn({ uboot: parts.uboot, card, consoleLog, story });
    },
    async cutPower() {
      await powered().cutPower();
      machine = undefined;
      say("the power is cut");
    },
    async starts(slot, version, trial) {
      const [, ...booted] = await line(/^boot: slot (\S+), version (\S+), validated (\d)$/);
      const wanted = [slot, version, trial === undefined ? "1" : "0"];
      const described = ([at = "", is = "", good = ""]: readonly string[]): string =>
        `slot ${at}, ${is}, ${good === "1" ? "validated" : "on trial"}`;
      if (described(booted) !== described(wanted))
        throw new Error(`U-Boot starts ${described(booted)}; not ${described(wanted)}`);
      say(`U-Boot starts ${described(booted)}`);
      const [, up = ""] = await line(/board: version .* runs since (\S+) s/);
      say(`its root file system, modules, data and network are up, after ${up} s of the board's own time`);
    },
    async joins(version) {
      await until(() => device.online && device.connections > connections);
      connections = device.connections;
      const running = device.firmware?.["version"] ?? "?";
      if (running !== version) throw new Error(`the agent says that it runs ${running}; not ${version}`);
      say(`the agent has joined, running ${running}`);
      shownPercent = -1;
      progressFrom = device.progress.length;
    },
    async boots(slot, version, trial) {
      await board.starts(slot, version, trial);
      await board.joins(version);
    },
    async deploy(version) {
      const { path, meta, sizeBytes } = parts.firmware[version];
      hub.deploy(await hub.publish(path, meta));
      say(`the hub offers ${version}: ${(sizeBytes / MIB).toFixed(1)} MiB, signed`);
    },
    async progress(percent) {
      const last = (): number => device.progress.slice(progressFrom).at(-1)?.value ?? 0;
      await until(() => {
        if (last() >= shownPercent + 20 || (last() === 100 && shownPercent < 100)) {
          shownPercent = last();
          say(`  ${shownPercent} % written`);
        }
        return last() >= percent || device.statuses.at(-1)?.status === "failed";
      });
      if (last() < percent) throw new Error(`the update failed: ${JSON.stringify(device.statuses.at(-1))}`);
    },
    async message(event, holds = () => true) {
      let payload: unknown;
      await until(() => {
        while (messages < device.received.length) {
          const message = device.received[messages++];
          payload = message?.payload;
          if (message?.event === event && holds(payload as Readonly<Record<string, unknown>>)) return true;
        }
        return false;
      });
      const about = JSON.stringify(payload);
      say(`the agent tells the hub: ${event}${about === "{}" ? "" : ` ${about}`}`);
    },
    async run(command) {
      return powered().run(command, patience(STEP_MS));
    },
    async monitor(command) {
      return powered().monitor(command);
    },
    async isHigh(gpio) {
      const said = await board.monitor(`xp /2wx ${GPLEV0}`);
      const words = said.match(/(?<= )0x[0-9a-f]{8}/g)?.map(Number) ?? [];
      return (((words[gpio >>> 5] ?? 0) >>> (gpio % 32)) & 1) === 1;
    },
    async memory() {
      const [, rss = "", free = ""] = await line(/board: up .*, hublink ([1-9]\d*) kB, available (\d+) kB$/);
      const mib = (kib: string): string => (Number(kib) / 1024).toFixed(1);
      say(`the agent stands at ${mib(rss)} MiB RSS, joined and idle; the board has ${mib(free)} MiB left`);
    },
    async remove() {
      await machine?.cutPower();
      await hub.stop();
      time.close();
      await rm(card, { force: true });
    },
  };
  return board;
}

/** Answers with the seconds since 1970: the boards have no clock of their own. */
async function startTimeServer(): Promise<Server> {
  const server = createServer((_, response) => void response.end(String(Math.floor(Date.now() / 1000))));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}
