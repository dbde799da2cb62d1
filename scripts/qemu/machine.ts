/**
 * One power-on of a Pi Zero in QEMU, with its serial console and QEMU's monitor. QEMU freezes now and then; a freeze is
 * an error of its own, so that a scenario can be played once more.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { createWriteStream, type WriteStream } from "node:fs";
import { createInterface } from "node:readline";
import { Duplex } from "node:stream";
import { openMonitor } from "./monitor.ts";
import { patience } from "./patience.ts";
import { seconds, type Story } from "./story.ts";

/** The board has printed nothing for {@link FREEZE_MS}, so QEMU has frozen it. */
export class Freeze extends Error {}

/** The board prints a line every 10 s (board/etc/init.d/pulse), and boots in less than this. */
const FREEZE_MS = 120_000;
/** The descriptor of QEMU's end of a socket; `child.stdio[MONITOR_FD]` is the other end. */
const MONITOR_FD = 3;

export interface MachineOptions {
  /** U-Boot's ELF file. */
  readonly uboot: string;
  /** The SD card's image. */
  readonly card: string;
  /** The file for the board's console, with the seconds since the story began. */
  readonly consoleLog: string;
  readonly story: Story;
}

/** A Pi Zero in QEMU, and the cable to its console. */
export interface Machine {
  /**
   * The first line of the console that matches, after the line that the last call found.
   * @throws Freeze when the board has frozen; Error when QEMU has ended, or time is up
   */
  line(pattern: RegExp, timeoutMs: number): Promise<RegExpExecArray>;
  /**
   * Runs a command in the shell on the console.
   * @returns what the console showed until it ended: its output, and lines of other programs
   * @throws as `line`; Error when it fails
   */
  run(command: string, timeoutMs: number): Promise<string>;
  /**
   * Runs a command in QEMU's monitor, such as `info qtree`.
   * @returns its output
   * @throws as `line`; Error when QEMU refuses it
   */
  monitor(command: string): Promise<string>;
  /** Rejects when the board freezes or QEMU ends by itself; never resolves. */
  readonly failed: Promise<never>;
  /** Ends QEMU at once, as a power cut ends a board. */
  cutPower(): Promise<void>;
}

/** Switches a board on. */
export function powerOn({ uboot, card, consoleLog, story }: MachineOptions): Machine {
  const args = [
    ...["--pdeathsig", "KILL", "qemu-system-arm"], // however this process ends, QEMU ends with it
    ...["-M", "raspi0"],
    // Without it, the guest's next timer may be missed while the host is busy, and the guest sleeps for
    // 71 minutes: hw/timer/bcm2835_systmr.c takes a time that has passed for one far ahead.
    ...["-icount", "shift=3"],
    ...["-kernel", uboot],
    ...["-drive", `if=sd,format=raw,file=${card}`],
    ...["-netdev", "user,id=n0", "-device", "usb-net,netdev=n0"],
    ...["-display", "none", "-serial", "stdio"],
    ...["-chardev", `socket,id=monitor,fd=${MONITOR_FD}`, "-mon", "chardev=monitor,mode=control"],
  ];
  const child = spawn("setpriv", args, { stdio: ["pipe", "pipe", "pipe", "pipe"] });
  const log = createWriteStream(consoleLog, { flags: "a" });
  const lines = new Console(log, story);
  let saidMs = performance.now();
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", () => (saidMs = performance.now()));
    createInterface({ input: stream }).on("line", (text) => lines.add(text.replaceAll("\r", "")));
  }
  child.stdin.on("error", () => undefined); // QEMU has ended; `failed` reports that

  let cut = false;
  const failed = new Promise<never>((_, reject) => {
    const watch = setInterval(() => {
      const silentMs = performance.now() - saidMs;
      if (silentMs < patience(FREEZE_MS)) return;
      clearInterval(watch);
      reject(new Freeze(`the board has said nothing for ${seconds(silentMs)}`));
    }, 1000);
    lines.onTrouble = (text) => reject(new Error(`${text.trim()}; see ${consoleLog}`));
    child.once("error", reject);
    child.once("close", (code) => {
      clearInterval(watch);
      log.end();
      if (!cut) reject(new Error(`QEMU ended with ${code ?? "a signal"}; see ${consoleLog}`));
    });
  });
  failed.catch(() => undefined); // without a handler Node would end this process; the next wait gets the error

  const wire = child.stdio[MONITOR_FD];
  if (!(wire instanceof Duplex)) throw new Error("there is no wire to QEMU's monitor");
  const monitor = openMonitor(wire);

  let commands = 0;
  const line: Machine["line"] = async (pattern, timeoutMs) =>
    Promise.race([lines.next(pattern, timeoutMs), failed]);
  return {
    failed,
    line,
    async run(command, timeoutMs) {
      commands += 1;
      const from = lines.all.length;
      // The word is cut in two, or the echo of this line would look like the end of the command.
      child.stdin.write(`${command}; echo "en""d ${commands} $?"\n`);
      const ended = await line(new RegExp(`end ${commands} (\\d+)$`), timeoutMs);
      const output = lines.all.slice(from).join("\n");
      if (ended[1] !== "0")
        throw new Error(`${command} ended with ${ended[1] ?? "?"} on the board:\n${output}`);
      return output;
    },
    async monitor(command) {
      return Promise.race([monitor.run(command), failed]);
    },
    async cutPower() {
      cut = true;
      await kill(child);
    },
  };
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "close");
}

/** Lines of the init scripts (board/etc) and the kernel after which it is pointless to wait. */
const TROUBLE = /board: .*(?:failed|no module|no data|no time|can't)|Kernel panic/;

/** Lines of a console as they come in. */
class Console {
  readonly all: string[] = [];
  /** Called with a line that matches {@link TROUBLE}. */
  onTrouble: (line: string) => void = () => undefined;
  readonly #log: WriteStream;
  readonly #story: Story;
  readonly #added = new EventEmitter();
  #searched = 0;

  constructor(log: WriteStream, story: Story) {
    this.#log = log;
    this.#story = story;
    this.#added.setMaxListeners(0);
  }

  add(text: string): void {
    this.all.push(text);
    if (this.#log.writable) this.#log.write(`${seconds(this.#story.elapsedMs()).padStart(9)}  ${text}\n`);
    this.#added.emit("line");
    if (TROUBLE.test(text)) this.onTrouble(text);
  }

  async next(pattern: RegExp, timeoutMs: number): Promise<RegExpExecArray> {
    const signal = AbortSignal.timeout(timeoutMs);
    for (;;) {
      while (this.#searched < this.all.length) {
        const match = pattern.exec(this.all[this.#searched++] ?? "");
        if (match !== null) return match;
      }
      try {
        await once(this.#added, "line", { signal });
      } catch (error) {
        throw new Error(`the board's console shows no ${String(pattern)} within ${seconds(timeoutMs)}`, {
          cause: error,
        });
      }
    }
  }
}
