/** One round: lives of an agent, one after the other, until the plan's end or a fault. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import type { DeviceRecord } from "../hub/device-record.ts";
import { IDENTIFIER } from "../agent/factory.ts";
import { BLOCK_BYTES } from "../fwup/block-cache.ts";
import { startHub, type Hub } from "../hub/server.ts";
import { boot, DeadBoard, type Boot } from "./boot-loader.ts";
import { fatalLoss } from "./card.ts";
import {
  checkEnd,
  checkFiles,
  checkJoins,
  checkPromise,
  checkRunningSlot,
  checkTrial,
  checkWriters,
  type Problem,
  type Wrong,
} from "./checks.ts";
import { Life, type Ending, type LifeOptions } from "./life.ts";
import { DISK, type Medium } from "./medium.ts";
import type { CutMoment, Kind, Plan } from "./plan.ts";
import type { Random } from "./random.ts";
import { tryRevert } from "./revert.ts";
import type { Model, World } from "./world.ts";

export interface Outcome {
  readonly problems: readonly Problem[];
  /** Why something went wrong that the agent can't prevent. */
  readonly explained: readonly string[];
  readonly cuts: number;
  /** The threads of each agent that hung until the watchdog reset its board. */
  readonly hung: readonly string[];
  readonly sentBytes: number;
  /** The firmware's size. */
  readonly neededBytes: number;
  /** The agent's log of the last life. */
  readonly log: string;
}

/** A round that was played. */
export interface Played {
  readonly kind: Kind;
  readonly seed: number;
  readonly plan: string;
  /** The names of what failed in it. */
  readonly faults: readonly string[];
  readonly outcome: Outcome;
}

export interface RoundOptions {
  readonly world: World;
  readonly plan: Plan;
  readonly random: Random;
  /** The round's folder; it is removed when nothing is wrong. */
  readonly dir: string;
}

const MAX_LIVES = 24;
const MAX_REFUSALS = 200;
/** Far more than fwup takes on a busy machine, and less than the hub's patience. */
const STALL_S = 20;
/** A hub that nobody answers for. */
const NO_HUB = "wss://localhost:1";
const DEAF_DEADLINE_S = 2;
/** Longer than any postponement. */
const LATER_S = 26 * 3600;
/** No time later than this can be right. */
const LIFETIME_MS = 20 * 365.25 * 86_400_000;

/** Plays a plan to its end. */
export async function playRound({ world, plan, random, dir }: RoundOptions): Promise<Outcome> {
  const model = await world.model(plan.model);
  const hub = await startHub({
    tls: model.factory.hubTls,
    publicKeys: [model.factory.signingKey.publicKeyBase64],
    urlLifetimeMs: plan.urlLifetimeMs,
  });
  const round = new Round({ world, plan, random, dir }, model, hub);
  try {
    await round.play();
  } catch (error) {
    if (!(error instanceof Unfit)) throw error;
  } finally {
    await round.end();
    await hub.stop();
  }
  const { outcome } = round;
  if (outcome.problems.length === 0) rmSync(dir, { recursive: true, force: true });
  return outcome;
}

/** Whether others write to the disk too, or the agent is the second one, whose own writes look like a child's. */
function mayBeMany({ happening }: Plan): boolean {
  return happening?.byHand !== undefined || happening?.twoAgents === true;
}

/** Thrown when a round can't go on; its problem is recorded. */
class Unfit extends Error {}

class Round {
  readonly #options: RoundOptions;
  readonly #model: Model;
  readonly #hub: Hub;
  readonly #device: DeviceRecord;
  readonly #problems: Problem[] = [];
  readonly #hung: string[] = [];
  readonly #explained: string[] = [];
  /** What the card lost that no board can do without. */
  readonly #fatalLosses: string[] = [];
  readonly #cutsLeft: Plan["cuts"][number][];
  #medium: Medium;
  #life: Life | undefined;
  #lives = 0;
  #boots = 0;
  #cuts = 0;
  /** The last life ended in a power cut, after which a disk without order may have fwup's switch before its slot. */
  #switchMayBeFirst = false;
  #refusals = 0;
  #deadBoots = 0;
  #deafBoots = 0;
  #aheadS = 0;
  /** After a wrong time, the hub gives the right one. */
  #hubIsRight = false;
  #log = "";

  constructor(options: RoundOptions, model: Model, hub: Hub) {
    const { plan } = options;
    this.#options = options;
    this.#model = model;
    this.#hub = hub;
    this.#device = hub.device(IDENTIFIER);
    this.#cutsLeft = [...plan.cuts];
    this.#medium = plan.used ? model.used : model.fresh;
  }

  get outcome(): Outcome {
    return {
      problems: this.#fatalLosses.length === 0 ? this.#problems : [],
      explained: [...(this.#problems.length === 0 ? [] : this.#fatalLosses), ...this.#explained],
      cuts: this.#cuts,
      hung: this.#hung,
      sentBytes: this.#hub.downloads.reduce((sum, { sentBytes }) => sum + sentBytes, 0),
      neededBytes: this.#model.target.sizeBytes,
      log: this.#log,
    };
  }

  async end(): Promise<void> {
    await this.#life?.kill();
  }

  /** @throws Unfit */
  async play(): Promise<void> {
    const { plan } = this.#options;
    const { target } = this.#model;
    for (const { fault, times } of plan.hubFaults) this.#hub.faults.add(fault, times);
    this.#hub.deploy(await this.#hub.publish(target.path, target.meta), { penaltyMs: 0 });
    let running = this.#boot();
    for (;;) {
      const ending = await this.#live(running);
      if (ending === "arrived") this.#checkFiles();
      if (ending === "given up" || (ending === "arrived" && !(await this.#rightsHubTime()))) break;
      // The same boot, another process; unless somebody who installed firmware by hand now boots it.
      if (ending === "later" && plan.happening?.byHand === undefined) continue;
      running = this.#boot();
      while (this.#isDead(running)) running = this.#boot();
      if (ending === "cut") await this.#revert(running);
    }
    this.#problems.push(...checkEnd(this.#left(), this.#boot(), plan.hopeless));
  }

  /** Whether new firmware comes up without its agent, whose supervisor then reboots the board. */
  #isDead({ firmware, validated }: Boot): boolean {
    const { deadBoots = 0 } = this.#options.plan.happening ?? {};
    if (this.#deadBoots >= deadBoots || validated || firmware.uuid !== this.#model.target.uuid) return false;
    this.#deadBoots += 1;
    return true;
  }

  /** Whether new firmware can't reach its hub. */
  #isDeaf({ firmware, validated }: Boot): boolean {
    const { deafBoots = 0 } = this.#options.plan.happening ?? {};
    if (this.#deafBoots >= deafBoots || validated || firmware.uuid !== this.#model.target.uuid) return false;
    this.#deafBoots += 1;
    return true;
  }

  /** Boots the medium as the board does. */
  #boot(): Boot {
    this.#boots += 1;
    const disk = Buffer.from(this.#disk());
    let booted: Boot;
    try {
      booted = boot(disk, this.#model.layout, this.#model.known);
    } catch (error) {
      if (!(error instanceof DeadBoard)) throw error;
      throw this.#unfit("bad boot", error.message);
    }
    this.#medium = new Map([...this.#medium, [DISK, disk]]);
    for (const slot of booted.failedTries) {
      // fwup flushes nothing between a slot and the switch to it. The boot script's fallback is what helps.
      if (this.#switchMayBeFirst)
        this.#explained.push("the disk kept fwup's switch to a slot before the slot");
      else this.#wrong("bad boot", `slot ${slot} was to boot and holds no whole firmware`);
    }
    return booted;
  }

  /** Runs one life of the agent to its end. */
  async #live(
    running: Boot,
  ): Promise<Exclude<Ending, "stopped" | "crashed"> | "arrived" | "given up" | "later"> {
    this.#lives += 1;
    if (this.#lives > MAX_LIVES) throw this.#unfit("not done", `not there after ${MAX_LIVES} lives`);
    const cut = this.#cutsLeft.shift();
    const options = this.#lifeOptions(running, cut?.moment, this.#isDeaf(running));
    const before = { statuses: this.#device.statuses.length, joins: this.#device.joins.length };
    const life = (this.#life = new Life(options));
    const happened = this.#lives === 1 ? this.#happen(life, before.joins) : Promise.resolve();
    const ending = await this.#outcomeOf(life, cut?.moment, before.statuses);
    const { random, plan } = this.#options;
    // The hub knows that the update is done, so no power cut may undo it.
    if (ending === "arrived" && plan.keptAtReboot !== "all") life.cutPower();
    else if (ending !== "ended") await life.stop();
    const how = await life.ended;
    this.#log = life.log;
    const isPlanned = cut !== undefined && how === "cut" && ending !== "arrived";
    if (how === "cut") this.#cuts += 1;
    if (cut !== undefined && !isPlanned && ending !== "arrived") this.#cutsLeft.unshift(cut);
    await happened;
    if (how === "crashed") throw this.#unfit("not done", "the agent ended by itself");
    const kept = isPlanned ? cut.kept : how === "stopped" ? "all" : plan.keptAtReboot;
    const { card, direct } = plan;
    const onLoss = (sectors: ReadonlySet<number>): void => this.#noteLoss(sectors, running);
    this.#medium = life.mediumAfter({ kept, direct, random, ...(how === "cut" && { card, onLoss }) });
    this.#switchMayBeFirst = how === "cut" && !direct && life.switchIsUnflushed;
    this.#checkState(life.log);
    this.#problems.push(
      ...checkJoins(this.#left(), running, before.joins, options.diskIsLate),
      ...checkRunningSlot(this.#left(), running),
      ...checkTrial(this.#left(), running),
      ...(mayBeMany(plan) ? [] : checkWriters(life.changes())),
      ...checkPromise(this.#left(), before.statuses),
    );
    if (ending === "arrived") return ending;
    // The power may have failed, or the agent have rebooted, while it was being stopped.
    if (how === "cut" || how === "rebooted") return how;
    return ending === "given up" ? ending : "later";
  }

  #noteLoss(sectors: ReadonlySet<number>, { slot, firmware }: Boot): void {
    const { layout } = this.#model;
    const lost = fatalLoss(sectors, layout, slot, Math.ceil(firmware.content.length / BLOCK_BYTES));
    if (lost !== undefined)
      this.#fatalLosses.push(`the card lost ${lost} (${this.#options.plan.model} board)`);
  }

  /** Checks by its log that an agent found its own files whole. */
  #checkState(log: string): void {
    const damaged = /^.* is damaged.*$/m.exec(log)?.[0];
    if (damaged !== undefined) this.#wrong("wrong bytes", damaged);
  }

  #checkFiles(): void {
    const { plan } = this.#options;
    // What was removed may come back when the removal was not flushed.
    const cacheBytes = plan.keptAtReboot === "all" ? 0 : 2 * this.#model.target.sizeBytes;
    const { happening } = plan;
    // A wrong time that could be right is believed as long as the hub gives no other.
    const doubtMs = happening?.noClock === true && !this.#hubIsRight ? LIFETIME_MS : 0;
    this.#problems.push(...checkFiles(this.#medium, cacheBytes, Date.now() + this.#aheadS * 1000 + doubtMs));
  }

  /** Corrects the hub's clock, once. @returns whether it was wrong, and the board must learn of it in another boot */
  async #rightsHubTime(): Promise<boolean> {
    if (this.#options.plan.happening?.noClock !== true || this.#hubIsRight) return false;
    this.#hub.faults.clear();
    this.#hubIsRight = true;
    await this.#hub.until(() => !this.#device.online);
    return true;
  }

  /** Does to a board what others do. */
  async #happen(life: Life, joinsBefore: number): Promise<void> {
    const { byHand, twoAgents, lateDisk } = this.#options.plan.happening ?? {};
    const joined = async (): Promise<unknown> =>
      Promise.race([life.ended, this.#hub.until(() => this.#device.joins.length > joinsBefore)]);
    if (twoAgents === true && !(await life.startSecond()))
      this.#wrong("misled", "two agents were at work at once");
    if (lateDisk === true) {
      await joined();
      life.showDisk();
    }
    if (byHand === undefined) return;
    await joined();
    const downloaded = this.#hub.until(() => this.outcome.sentBytes >= byHand.atByte);
    await Promise.race([life.ended, downloaded]);
    await life.installByHand(this.#model.byHand.path);
    if (byHand.restartsAgent) await life.restartAgent();
  }

  /** Waits for the end of a life, or for a reason to end it. */
  async #outcomeOf(
    life: Life,
    moment: CutMoment | undefined,
    statusesBefore: number,
  ): Promise<"arrived" | "given up" | "later" | "ended"> {
    const sentBefore = this.outcome.sentBytes;
    const due = (): boolean =>
      moment !== undefined && "atByte" in moment && this.outcome.sentBytes - sentBefore >= moment.atByte;
    let seen = statusesBefore;
    let offeredAt = 0;
    const refusal = () =>
      this.#device.statuses
        .slice(seen)
        .find(({ status }) => ["failed", "ignored", "rescheduled"].includes(status));
    for (;;) {
      const waited = this.#hub.until(
        () => this.#arrived() || due() || refusal() !== undefined || this.#isIdle(offeredAt),
      );
      const first = await Promise.race([
        waited.then(() => "hub" as const).catch(() => "silence" as const),
        life.ended.then(() => "ended" as const),
      ]);
      if (first === "ended") return "ended";
      if (first === "silence") {
        if (this.#hung.length > 0) throw this.#unfit("not done", "nothing happens any more");
        this.#hung.push(`${life.threads()}\n${life.log}`);
      }
      if (first === "silence" || due()) {
        life.cutPower();
        return "ended";
      }
      if (this.#arrived()) return "arrived";
      if (this.#isIdle(offeredAt)) offeredAt = this.#device.joins.length;
      const refused = refusal();
      if (refused !== undefined && ++this.#refusals > MAX_REFUSALS)
        throw this.#unfit("not done", `refused ${MAX_REFUSALS} times, at last as ${refused.status}`);
      seen = this.#device.statuses.length;
      if (this.#options.plan.hopeless && refused !== undefined) return "given up";
      this.#device.blockedUntil = undefined; // as an operator does who does not wait
      if (refused?.status === "rescheduled") {
        this.#aheadS += LATER_S;
        return "later";
      }
      this.#hub.offer();
    }
  }

  /**
   * Whether the hub should offer the target again, as its orchestrator does from time to time: other good
   * firmware runs, and no update is under way.
   */
  #isIdle(offeredAt: number): boolean {
    const { online, validated, inFlight, joins } = this.#device;
    return (
      online &&
      validated === "validated" &&
      inFlight === undefined &&
      !this.#arrived() &&
      joins.length > offeredAt
    );
  }

  /** Whether the hub knows that the target runs and is validated. */
  #arrived(): boolean {
    return (
      this.#device.online &&
      this.#device.firmware?.["uuid"] === this.#model.target.uuid &&
      this.#device.validated === "validated"
    );
  }

  #lifeOptions(running: Boot, moment: CutMoment | undefined, isDeaf = false): LifeOptions {
    const { world, plan, dir } = this.#options;
    return {
      world,
      model: this.#model,
      dir: join(dir, `life-${this.#lives}`),
      medium: this.#medium,
      boot: running,
      bootScriptTells: plan.bootScriptTells,
      bootId: `boot-${this.#boots}`,
      hubUrl: isDeaf ? NO_HUB : this.#hub.url,
      config: {
        ...(isDeaf && { validation: { deadline_s: DEAF_DEADLINE_S } }),
        update: {
          mode: plan.mode,
          // fwup 1.9.1 hangs when a write fails.
          stall_s: STALL_S,
          retry: { attempts: 10, delay_s: 0.01, idle_timeout_s: 0.5, min_rate_bytes_s: 1 },
        },
        ...(!plan.ops && { firmware: { ops_file: "/nonexistent/ops.fw" } }),
      },
      faults: {
        ...(this.#lives === 1 && plan.lifeFaults),
        ...(moment !== undefined && "atChange" in moment && { cutAt: moment.atChange }),
        ...(moment !== undefined && "atDiskWrite" in moment && { cutAtDiskWrite: moment.atDiskWrite }),
      },
      diskIsLate: this.#lives === 1 && plan.happening?.lateDisk === true,
      aheadS: this.#aheadS - (plan.happening?.noClock === true ? Date.now() / 1000 : 0),
    };
  }

  async #revert(running: Boot): Promise<void> {
    const options = this.#lifeOptions(running, undefined);
    const problem = await tryRevert({ ...options, dir: join(this.#options.dir, `revert-${this.#boots}`) });
    if (problem !== undefined) this.#wrong("bad boot", `revert: ${problem}`);
  }

  #left() {
    return { model: this.#model, disk: this.#disk(), device: this.#device };
  }

  #disk(): Buffer {
    return this.#medium.get(DISK) ?? Buffer.alloc(0);
  }

  #wrong(wrong: Wrong, text: string): void {
    this.#problems.push({ wrong, text });
  }

  #unfit(wrong: Wrong, text: string): Unfit {
    this.#log = this.#life?.log ?? "";
    this.#wrong(wrong, text);
    return new Unfit(text);
  }
}
