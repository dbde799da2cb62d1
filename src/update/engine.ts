/**
 * One update from its offer to its end: has it decided, checks it, clears the other slot and writes it. Rule:
 * every step moves along the table in states.ts, and nothing is written before the file's metadata is the
 * announced one and the other slot is invalid on the disk.
 */
import { addAbortListener, type EventEmitter } from "node:events";
import type { FirmwareCache } from "../download/cache.ts";
import type { DownloadWait } from "../download/retries.ts";
import { withholdEnd } from "../download/verify.ts";
import type { BoardFirmware } from "../firmware/board-firmware.ts";
import { applyFirmware, KEYS_REMEDY, usablePublicKeys } from "../firmware/fwup.ts";
import { compareWithAnnounced, type FirmwareMetadata, peekMetadata } from "../firmware/metadata.ts";
import type { Clock } from "../platform/clock.ts";
import { failedWith, Failure, messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { Decision } from "./decide.ts";
import type { PutOffOutcome } from "./held-offer.ts";
import type { UpdateHistory } from "./history.ts";
import type { Offer } from "./offers.ts";
import { endedBefore, endedBy, isFwups, type NotInstalled, type Outcome, PutOff } from "./outcome.ts";
import { type Progress, throttleProgress } from "./progress.ts";
import { transition, type UpdateEvent, type UpdateState } from "./states.ts";

export interface UpdateEvents {
  /** A new offer is about to be decided. */
  received: [offer: Offer];
  /** It was put off for a short time, and waits on the board. */
  held: [offer: Offer, outcome: PutOffOutcome];
  /** It was accepted, and its download begins over this network interface, if that is known. */
  started: [offer: Offer, networkInterface: string | undefined];
  progress: [offer: Offer, progress: Progress];
  /** Its download waits, or goes on again (undefined). */
  waiting: [offer: Offer, wait: DownloadWait | undefined];
  ended: [offer: Offer, outcome: Outcome];
  /** It was installed before, and waits for its reboot. */
  installedAlready: [offer: Offer];
}

/** Why a download waits, and since when no byte has come. */
export interface Waiting {
  readonly reason: string;
  /** On the clock that never jumps. */
  readonly sinceMs: number;
}

/** How fwup is run for an update. */
export interface FwupSettings {
  /** Name or path of the program. */
  readonly fwup: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** The first task in the archive whose name starts so and whose requirements hold is run. */
  readonly task: string;
  /** fwup is ended when it makes no progress for this long. */
  readonly stallMs: number;
}

export interface UpdateOptions {
  readonly settings: FwupSettings;
  readonly firmware: BoardFirmware;
  /** The keys of this moment, Base64 Ed25519; the hub's may come late. */
  readonly keys: { readonly usable: () => readonly string[] };
  /** May take as long as people take; the signal ends it. */
  readonly approval: {
    decide(offer: Offer, signal: AbortSignal): Decision | Promise<Decision>;
    /** @throws Failure when the file is not wanted, whatever was announced of it */
    judge(offer: Offer, metadata: FirmwareMetadata): void;
  };
  /** Remembers how the hub's offers ended. */
  readonly history?: UpdateHistory;
  /** Loses the file of a firmware that is installed. */
  readonly cache?: Pick<FirmwareCache, "remove">;
  readonly clock: Clock;
  readonly log: Log;
}

/** One update. */
export class Update {
  readonly offer: Offer;
  readonly #options: UpdateOptions;
  readonly #events: EventEmitter<UpdateEvents>;
  /** The agent stops. */
  readonly #stop: AbortSignal;
  readonly #clock: Clock;
  readonly #log: Log;
  #state: UpdateState = "idle";
  #percent = 0;
  #lastStepMs = 0;
  #waiting: Waiting | undefined;
  /** By which the history knows the firmware: announced at first, then what the file says. */
  #uuid: string | null | undefined;
  /** The device is this update's own, from the first step that writes. */
  #claim: Awaited<ReturnType<BoardFirmware["claim"]>> | undefined;

  /** @param events where it reports `started` and `progress` */
  constructor(offer: Offer, options: UpdateOptions, events: EventEmitter<UpdateEvents>, stop: AbortSignal) {
    this.offer = offer;
    this.#uuid = offer.announced.uuid;
    this.#options = options;
    this.#events = events;
    this.#stop = stop;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  get state(): UpdateState {
    return this.#state;
  }

  /** 0 to 100, of its present stage. */
  get percent(): number {
    return this.#percent;
  }

  /** Why its download waits; undefined while bytes come. */
  get waiting(): Waiting | undefined {
    return this.#waiting;
  }

  /** Time since its last step (a state, a percent or a byte), ms; undefined when it is not under way. */
  get stillForMs(): number | undefined {
    if (this.#state === "idle" || this.#state === "installed") return undefined;
    return this.#clock.monotonic() - this.#lastStepMs;
  }

  async run(): Promise<Outcome> {
    this.#move("offered");
    const outcome = await this.#install().catch(endedBefore);
    if (!this.#stop.aborted) await this.#rememberEnd(outcome);
    this.#move(outcome.result);
    if (outcome.result === "installed") {
      this.#log.info("the update is installed", { uuid: outcome.firmware.uuid });
    } else {
      this.#log.warn(`the update is ${outcome.result}: ${outcome.reason}`, {
        uuid: this.offer.announced.uuid,
      });
    }
    return outcome;
  }

  async #install(): Promise<Outcome> {
    const { approval, firmware, cache } = this.#options;
    if (usablePublicKeys(this.#options.keys.usable()).length === 0) {
      throw new Failure("no_public_key", `no usable public key to verify firmware with: ${KEYS_REMEDY}`);
    }
    const decision = await approval.decide(this.offer, this.#stop);
    if (decision.action === "ignore") return { result: "ignored", reason: decision.reason };
    if (decision.action === "reschedule") return { ...decision, result: "rescheduled" };
    this.#move("accepted");
    this.#events.emit("started", this.offer, await this.offer.networkInterface?.());
    await this.#remember(async (history, uuid) => history.started(uuid));
    try {
      const installed = await this.#writeAgainIfChanged();
      await firmware.noteInstalled(installed.uuid, this.offer.origin);
      await cache?.remove(installed.uuid);
      return { result: "installed", firmware: installed };
    } catch (caught) {
      const hasAll = this.#state === "finishing";
      // An fwup that refuses because somebody else has just switched slots says nothing about this firmware. Once it
      // has all bytes, the switch is its own.
      const error =
        (!hasAll && failedWith(caught, "fwup_refused") && (await firmware.contention())) || caught;
      // fwup can't finish without the bytes withheld from it, unless more than those follow the archive's end. One that
      // has all bytes may have switched slots before it failed.
      if (this.#state === "writing" || (hasAll && isFwups(error)))
        await this.#keepRunning(failedWith(error, "fwup_unproven"));
      return withFlaw(endedBy(error), this.offer);
    } finally {
      await this.#claim?.release();
    }
  }

  /** Starts over, once, when the file changed on the server after fwup got bytes of it. */
  async #writeAgainIfChanged(): Promise<FirmwareMetadata> {
    try {
      return await this.#write();
    } catch (error) {
      const changed = failedWith(error, "file_changed");
      if (!changed || (this.#state !== "checking" && this.#state !== "writing")) throw error;
      this.#log.warn("the update starts over: the file has changed on the server", {
        uuid: this.offer.announced.uuid,
      });
      this.#move("restarted");
      return await this.#write();
    }
  }

  async #write(): Promise<FirmwareMetadata> {
    const ended = new AbortController();
    try {
      this.#stop.throwIfAborted();
      return await this.#writeOnce(ended);
    } finally {
      ended.abort(new Error("the update has ended")); // ends a download that nobody reads any more
    }
  }

  /** @param ended ends the download before the agent stops */
  async #writeOnce(ended: AbortController): Promise<FirmwareMetadata> {
    const { settings, keys, firmware } = this.#options;
    const signal = AbortSignal.any([this.#stop, ended.signal]);
    const query = { fwup: settings.fwup, clock: this.#clock, signal, publicKeys: keys.usable() };
    let bytes = 0;
    const progress = (stage: Progress["stage"]): ((percent: number) => void) =>
      throttleProgress(this.#clock, (percent) => {
        this.#percent = percent;
        this.#noteStep();
        this.#events.emit("progress", this.offer, { stage, percent, bytes });
      });
    const cachedPercent = progress("downloading");
    const onWaiting = (wait: DownloadWait | undefined): void => this.#noteWaiting(wait);
    const onCached = (cached: number): void => {
      bytes = cached;
      this.#noteStep();
      if (this.offer.sizeBytes !== null) cachedPercent((cached / this.offer.sizeBytes) * 100);
    };
    const { metadata, publicKeys, stream } = await peekMetadata(
      query,
      this.offer.open(signal, { onCached, onWaiting }),
    );
    try {
      await this.#clearFor(metadata);
    } catch (error) {
      await stream.return();
      throw error;
    }
    bytes = 0;
    this.#percent = 0;
    const proven = this.#proven(stream, (count) => {
      bytes += count;
      this.#noteStep();
    });
    await applyFirmware(
      {
        ...settings,
        devpath: firmware.devpath,
        publicKeys,
        clock: this.#clock,
        // `signal` would be aborted by fwup's own end, and its reason would hide what fwup said.
        signal: this.#stop,
        onProgress: progress("updating"),
        onWarning: (text) => this.#log.info(`fwup: ${text}`),
      },
      async function* (fwupEnded) {
        using _listener = addAbortListener(fwupEnded, () => ended.abort(fwupEnded.reason));
        yield* proven;
      },
    );
    return metadata;
  }

  /** Makes the other slot ready for a file whose metadata is known, in an order that a power cut can't spoil. */
  async #clearFor(metadata: FirmwareMetadata): Promise<void> {
    await this.#rememberAs(metadata.uuid);
    const differences = compareWithAnnounced(metadata, this.offer.announced);
    if (differences.length > 0) {
      const text = `this is not the firmware that was announced: ${differences.join(", ")}`;
      throw new Failure("firmware_mismatch", text);
    }
    const { approval, firmware } = this.#options;
    approval.judge(this.offer, metadata);
    this.#move("matches");
    this.#claim ??= await firmware.claim();
    await firmware.clearTarget(this.#stop);
    await firmware.noteWriting(metadata.uuid, this.offer.origin);
    await this.#remember(async (history, uuid) => history.writing(uuid));
    this.#move("cleared");
  }

  /**
   * The verified bytes on their way to fwup. Those at the end, on which fwup switches slots, follow when the whole
   * file is proven and the other slot is still the one to write.
   */
  async *#proven(
    stream: AsyncIterable<Uint8Array>,
    onBytes: (count: number) => void,
  ): AsyncGenerator<Uint8Array, void> {
    const counted = async function* (): AsyncGenerator<Uint8Array, void> {
      for await (const chunk of stream) {
        onBytes(chunk.length);
        yield chunk;
      }
    };
    yield* withholdEnd(counted(), async () => {
      const contended = await this.#options.firmware.contention();
      if (contended !== undefined) throw contended;
      this.#move("proven");
    });
  }

  /** @param finished fwup said that it finished; else it was killed, and may have finished all the same */
  async #keepRunning(finished: boolean): Promise<void> {
    try {
      await this.#options.firmware.keepRunning(finished);
    } catch (error) {
      this.#log.error(`the next boot may run firmware that is not proven: ${messageOf(error)}`);
    }
  }

  async #rememberEnd(outcome: Outcome): Promise<void> {
    const begun = this.#state !== "deciding"; // else it comes again as if for the first time
    await this.#remember(async (history, uuid) => {
      if (outcome.result === "installed") await history.installed(uuid);
      else if (outcome.result === "failed") await history.failed(uuid, outcome.reason, outcome.blame);
      else if (begun) await history.failed(uuid, outcome.reason, "circumstances");
    });
  }

  /** @throws PutOff when the firmware that the file says it is failed not long ago */
  async #rememberAs(uuid: string): Promise<void> {
    if (uuid === this.#uuid) return;
    await this.#remember(async (history) => {
      await history.unstarted();
      this.#uuid = undefined;
      const backOff = history.backOff(uuid);
      if (backOff !== undefined) throw new PutOff(backOff);
      this.#uuid = uuid;
      await history.started(uuid);
    });
  }

  async #remember(note: (history: UpdateHistory, uuid: string) => Promise<void>): Promise<void> {
    const { history } = this.#options;
    if (history === undefined || this.offer.origin !== "hub" || typeof this.#uuid !== "string") return;
    await note(history, this.#uuid);
  }

  #noteWaiting(wait: DownloadWait | undefined): void {
    const sinceMs = this.#waiting?.sinceMs ?? this.#clock.monotonic();
    this.#waiting = wait && { reason: wait.reason, sinceMs };
    this.#events.emit("waiting", this.offer, wait);
  }

  #noteStep(): void {
    this.#lastStepMs = this.#clock.monotonic();
  }

  #move(event: UpdateEvent): void {
    const next = transition(this.#state, event);
    this.#log.debug("update", { from: this.#state, event, to: next });
    this.#state = next;
    this.#noteStep();
  }
}

/** A failure with what is wrong with the file, if that shows. */
function withFlaw(outcome: NotInstalled, { flaw }: Offer): NotInstalled {
  const more = outcome.result === "failed" ? flaw?.() : undefined;
  return more === undefined ? outcome : { ...outcome, reason: `${outcome.reason}; ${more}` };
}
