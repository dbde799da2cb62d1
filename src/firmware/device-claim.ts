/**
 * Who writes to the device. fwup takes no lock, and two of them on one device ruin the slot while both report
 * success. So one hublink at a time holds the device; an fwup that outlived a killed agent, which goes on writing,
 * is ended first; and what another program writes is found by the files that are open.
 */
import { readdirSync, readFileSync, realpathSync, type Stats, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { signalGroup } from "../platform/child.ts";
import { type Clock, sleep } from "../platform/clock.ts";
import { Failure, messageOf, systemCode } from "../platform/failure.ts";
import { lock, type Lock } from "../platform/lock.ts";
import type { Log } from "../platform/log.ts";
import {
  argumentsOf,
  lockHolder,
  type OpenFile,
  openFilesOf,
  pidWords,
  type Process,
  processes,
  processOf,
  variableOf,
} from "../platform/processes.ts";
import { fwupGroup } from "./fwup-process.ts";
import { startedByLiveAgent, STARTED_BY } from "./fwup-starter.ts";

/** udev locks a disk for a moment when somebody has written to it. */
const LOCK_TRIES = 20;
const LOCK_PAUSE_MS = 100;

/** A killed process ends when its last write does; on a bad card that takes seconds. */
const END_TRIES = 200;
const END_PAUSE_MS = 50;

export interface DeviceOptions {
  readonly clock: Clock;
  readonly log: Log;
}

/** The device that is written, among all who may write to it. */
export class DeviceClaim {
  readonly #options: DeviceOptions;
  #holders = 0;
  #lock: Promise<Lock | undefined> | undefined;

  constructor(options: DeviceOptions) {
    this.#options = options;
  }

  /**
   * Keeps other hublinks from the device until `release`, and ends what an earlier one left there. A second holder in
   * this process shares the claim.
   * @throws Failure `device_busy`
   */
  async hold(devpath: string): Promise<void> {
    this.#holders += 1;
    try {
      this.#lock ??= this.#acquire(devpath);
      await this.#lock;
      await this.endLeft(devpath);
    } catch (error) {
      await this.release();
      throw error;
    }
  }

  async release(): Promise<void> {
    this.#holders -= 1;
    if (this.#holders > 0) return;
    const held = this.#lock?.catch(() => undefined); // it was refused, and `hold` has thrown that
    this.#lock = undefined;
    await (await held)?.release();
  }

  async #acquire(devpath: string): Promise<Lock | undefined> {
    if (targetOf(devpath) === undefined) return undefined; // what is wrong with it is said by what writes to it
    const { clock, log } = this.#options;
    for (let tries = 1; tries <= LOCK_TRIES; tries += 1) {
      const held = await lock(devpath, clock, log);
      if (held !== undefined) return held;
      await sleep(clock, LOCK_PAUSE_MS);
    }
    const who = `another hublink${pidWords(await lockHolder(devpath))}`;
    throw new Failure("device_busy", `${who} writes to the device ${devpath}; try again when it has ended`);
  }

  /**
   * Ends every fwup that an earlier hublink started and did not live to end.
   * @throws Failure `device_busy` when one can't be ended
   */
  async endLeft(devpath: string): Promise<void> {
    const { clock, log } = this.#options;
    let ending: Process[] = [];
    for (let tries = 1; ; tries += 1) {
      const { left } = await writersOf(devpath);
      for (const writer of left) {
        if (!ending.some(({ pid }) => pid === writer.pid)) {
          log.warn("an fwup of an earlier hublink is ended", { pid: writer.pid });
          ending.push(writer);
        }
        end(writer);
      }
      // A killed one shows no open files any more while its last write goes on.
      ending = ending.filter(({ pid, start }) => processOf(pid)?.start === start);
      const [first] = ending;
      if (first === undefined && left.length === 0) return;
      if (tries > END_TRIES && first !== undefined) {
        const text = `${nameOf(first)} of an earlier hublink writes to the device ${devpath} and does not end`;
        throw new Failure("device_busy", `${text}; reboot the board`);
      }
      await sleep(clock, END_PAUSE_MS);
    }
  }
}

/** Why an update has to wait: a program that is not hublink's writes to the device. Mounted file systems don't count. */
export async function otherWriter(devpath: string): Promise<Failure | undefined> {
  const [first] = (await writersOf(devpath)).others;
  if (first === undefined) return undefined;
  return new Failure("device_busy", `another program writes to the device: ${nameOf(first)}`);
}

function nameOf(writer: Process): string {
  return `${writer.name}${pidWords(writer)}`;
}

/** @throws Failure `device_busy` when this user may not */
function end(writer: Process): void {
  try {
    signalGroup({ pid: writer.group });
  } catch (error) {
    const text = `${nameOf(writer)} of an earlier hublink can't be ended: ${messageOf(error)}`;
    throw new Failure("device_busy", text, { cause: error });
  }
}

interface Writers {
  /** Started by a hublink that has ended, or that believes them ended. */
  readonly left: readonly Process[];
  /** Somebody else's. */
  readonly others: readonly Process[];
}

async function writersOf(devpath: string): Promise<Writers> {
  const left: Process[] = [];
  const others: Process[] = [];
  const target = targetOf(devpath);
  if (target === undefined) return { left, others };
  for await (const candidate of processes()) {
    const { pid, group } = candidate;
    if (pid === process.pid || group === fwupGroup()) continue;
    const writes = openFilesOf(pid).some((file) => target(file) && isWritable(file));
    // One that was just started does not have it open yet.
    if (!writes && !isFwupFor(argumentsOf(pid), devpath)) continue;
    const startedBy = variableOf(pid, STARTED_BY);
    if (startedBy !== undefined && !startedByLiveAgent(startedBy)) left.push(candidate);
    else if (writes) others.push(candidate);
  }
  return { left, others };
}

function isFwupFor(args: readonly string[], devpath: string): boolean {
  return args.includes("--framing") && args[args.indexOf("-d") + 1] === devpath;
}

/** O_WRONLY or O_RDWR, by the flags that open(2) was given. */
function isWritable(file: OpenFile): boolean {
  const flags = /^flags:\s+([0-7]+)$/m.exec(file.notes())?.[1] ?? "0";
  return (Number.parseInt(flags, 8) & 3) !== 0;
}

/** Whether an open file is the device, or a part of it. */
type Target = (file: OpenFile) => boolean;

function targetOf(devpath: string): Target | undefined {
  const stats = statOf(devpath);
  if (stats === undefined) return undefined;
  const real = realpathSync(devpath);
  if (stats.isFile()) {
    return ({ path, link }) => {
      // Not every open file is asked: one on a network share that is gone would never answer.
      if (basename(path) !== basename(real)) return false;
      const opened = statOf(link);
      return opened?.dev === stats.dev && opened.ino === stats.ino;
    };
  }
  if (!stats.isBlockDevice()) return undefined;
  const numbers = diskNumbers(deviceNumber(stats.rdev));
  return ({ path, link }) => {
    if (!path.startsWith("/dev/") && dirname(path) !== dirname(real)) return false;
    const opened = statOf(link);
    return opened?.isBlockDevice() === true && numbers.has(deviceNumber(opened.rdev));
  };
}

/** The numbers of a device's disk and of all its partitions that are not mounted, such as "179:2". */
function diskNumbers(number: string): ReadonlySet<string> {
  const here = realOf(`/sys/dev/block/${number}`);
  if (here === undefined) return new Set([number]);
  const disk = statOf(join(here, "partition")) === undefined ? here : dirname(here);
  const parts = readdirSync(disk).filter((name) => statOf(join(disk, name, "partition")) !== undefined);
  const mounted = mountedNumbers();
  return new Set([
    readFileSync(join(disk, "dev"), "utf8").trim(),
    ...parts
      .map((name) => readFileSync(join(disk, name, "dev"), "utf8").trim())
      .filter((part) => !mounted.has(part)),
  ]);
}

/** A file system in user space holds its partition open for writing as long as it is mounted. */
function mountedNumbers(): ReadonlySet<string> {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  return new Set(lines.map((line) => line.split(" ")[2] ?? ""));
}

/** As the kernel writes device numbers; makedev(3) says which bits of `rdev` are which. */
export function deviceNumber(rdev: number): string {
  const wide = BigInt(rdev);
  const major = ((wide >> 8n) & 0xfffn) | ((wide >> 32n) & ~0xfffn);
  const minor = (wide & 0xffn) | ((wide >> 12n) & 0xffff_ff00n);
  return `${major}:${minor}`;
}

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return undefined; // it is not there, or this user may not know
  }
}

function realOf(path: string): string | undefined {
  return statOf(path) === undefined ? undefined : realpathSync(path);
}
