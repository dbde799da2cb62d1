import { applyFirmware, usablePublicKeys } from "../firmware/fwup.ts";
import {
  type AnnouncedMetadata,
  compareWithAnnounced,
  type FirmwareMetadata,
  peekMetadata,
} from "../firmware/metadata.ts";
import { type Clock, within } from "../platform/clock.ts";
import { Failure, failedWith, messageOf } from "../platform/failure.ts";
import { type Log, redact } from "../platform/log.ts";
import type { Blame, UpdateHistory } from "./history.ts";
import { transition, type UpdateEvent, type UpdateState } from "./states.ts";

/** A firmware that could be installed. */
export interface Offer {
  /** Who asks: the hub hears of its own offers only. */
  readonly origin: "hub" | "local";
  /** uuid and the rest as far as they were announced; a local file announces nothing. */
  readonly announced: AnnouncedMetadata & { readonly version?: string | null };
  readonly sizeBytes: number | null;
  /** The hub's name for why it sends it. */
  readonly deploymentId: number | string | null;
  /** The network interface that its file comes over, as far as that can be told. */
  readonly networkInterface?: () => Promise<string | undefined>;
  /**
   * Opens the file. What it yields is verified as far as checksums are known, and its end is withheld
   * until the whole is proven, since fwup acts as soon as it sees the archive's directory.
   * @param onCached gets how many bytes are on the disk, where they go there first
   */
  readonly open: (signal: AbortSignal, onCached: (bytes: number) => void) => AsyncIterable<Uint8Array>;
}

export type Decision =
  | { readonly action: "apply" }
  | { readonly action: "ignore"; readonly reason: string }
  | { readonly action: "reschedule"; readonly delayMs: number; readonly reason: string };

/** How an offer ended. */
export type Outcome =
  | { readonly result: "installed"; readonly firmware: FirmwareMetadata }
  | { readonly result: "ignored"; readonly reason: string }
  | { readonly result: "failed"; readonly reason: string; readonly blame: Blame }
  | { readonly result: "rescheduled"; readonly delayMs: number; readonly reason: string };

/** What happens on the way, for the hub and for those who watch. */
export type UpdateNews =
  | { readonly type: "received" }
  | { readonly type: "started"; readonly networkInterface: string | undefined }
  | {
      readonly type: "progress";
      /** Of a file that is cached first, the download has percents of its own. */
      readonly stage: "downloading" | "updating";
      readonly percent: number;
      readonly bytes: number;
    }
  | { readonly type: "ended"; readonly outcome: Outcome };

export interface UpdaterOptions {
  readonly fwup: string;
  readonly fwupArgs: readonly string[];
  readonly fwupEnv: Readonly<Record<string, string>>;
  readonly task: string;
  readonly stallMs: number;
  readonly devpath: () => string;
  /** The keys of this moment; the hub's may come late. */
  readonly publicKeys: () => readonly string[];
  /** May take as long as people take; the signal ends it. */
  readonly decide: (offer: Offer, signal: AbortSignal) => Decision | Promise<Decision>;
  /** Makes the other slot invalid, flushed. */
  readonly clearTarget: (signal: AbortSignal) => Promise<void>;
  /** The other slot is about to be written: told before fwup gets a byte of it. */
  readonly onWriting: (offer: Offer, firmware: FirmwareMetadata) => Promise<void>;
  /**
   * Makes the running slot the active one again after fwup finished a file that then proved bad.
   * @param finished fwup said so; else it was killed, and may have finished all the same
   */
  readonly undo: (finished: boolean) => Promise<void>;
  /** The other slot is written and active: told before anybody else hears of it. */
  readonly onInstalled: (offer: Offer, firmware: FirmwareMetadata) => Promise<void>;
  readonly onNews: (offer: Offer, news: UpdateNews) => void;
  /** Remembers what becomes of the hub's offers. */
  readonly history?: UpdateHistory;
  readonly clock: Clock;
  readonly log: Log;
}

export interface UpdaterStatus {
  readonly state: UpdateState;
  /** The firmware under way, when one is and its uuid is known. */
  readonly uuid: string | null;
  readonly percent: number;
  /** Since it last went on by a state, a percent or a byte, ms; undefined when none is under way. */
  readonly stillForMs: number | undefined;
}

/** Installs firmware, one at a time. */
export interface Updater {
  readonly status: UpdaterStatus;
  /** Takes the hub's offer: the one under way is not disturbed, another one waits. */
  offer(offer: Offer): void;
  /**
   * Installs at somebody's request on the board.
   * @throws Failure when an update is under way
   */
  apply(offer: Offer): Promise<Outcome>;
  /** Resolves when nothing is being written. */
  settled(): Promise<void>;
  /** Ends what is under way; a slot that is nearly finished is given `graceMs` to be. */
  stop(graceMs: number): Promise<void>;
}

/** As long as nerves_hub_link asks for at least. */
const REBOOT_PENDING_MS = 5 * 60_000;

export function createUpdater(options: UpdaterOptions): Updater {
  const { clock, log } = options;
  const stopping = new AbortController();
  let state: UpdateState = "idle";
  let current: Offer | undefined;
  let waiting: Offer | undefined;
  let percent = 0;
  let wentOnMs = 0;
  let running: Promise<Outcome> | undefined;

  const wentOn = (): void => {
    wentOnMs = clock.monotonic();
  };

  const move = (event: UpdateEvent): void => {
    const next = transition(state, event).to;
    log.debug("update", { from: state, event, to: next });
    state = next;
    wentOn();
  };

  const refusal = (): string | undefined => {
    if (usablePublicKeys(options.publicKeys()).length > 0) return undefined;
    return "no usable public key to verify firmware with: set firmware.public_keys, or let the hub send its keys";
  };

  /** Takes verified bytes to fwup, and tells when all of them are with it. */
  async function* proving(
    stream: AsyncIterable<Uint8Array>,
    onBytes: (count: number) => void,
  ): AsyncGenerator<Uint8Array, void> {
    for await (const chunk of stream) {
      onBytes(chunk.length);
      yield chunk;
    }
    move("proven");
  }

  const remember = async (
    { origin, announced }: Offer,
    note: (history: UpdateHistory, uuid: string) => Promise<void>,
  ): Promise<void> => {
    const { history } = options;
    const { uuid } = announced;
    if (history !== undefined && origin === "hub" && typeof uuid === "string") await note(history, uuid);
  };

  const writeOnce = async (offer: Offer, abort: AbortController): Promise<FirmwareMetadata> => {
    const { signal } = abort;
    const query = { fwup: options.fwup, clock, signal, publicKeys: options.publicKeys() };
    let bytes = 0;
    const reporter = (stage: "downloading" | "updating"): ((percent: number) => void) =>
      throttleProgress(clock, (whole) => {
        percent = whole;
        wentOn();
        options.onNews(offer, { type: "progress", stage, percent: whole, bytes });
      });
    const reportCached = reporter("downloading");
    const onCached = (cached: number): void => {
      bytes = cached;
      wentOn();
      if (offer.sizeBytes !== null) reportCached((cached / offer.sizeBytes) * 100);
    };
    const { metadata, stream } = await peekMetadata(query, offer.open(signal, onCached));
    try {
      const differences = compareWithAnnounced(metadata, offer.announced);
      if (differences.length > 0) {
        const text = `this is not the firmware that was announced: ${differences.join(", ")}`;
        throw new Failure("failed", text);
      }
      move("matches");
      await options.clearTarget(signal);
      await options.onWriting(offer, metadata);
      await remember(offer, async (history, uuid) => history.writing(uuid));
      move("cleared");
    } catch (error) {
      await stream.return();
      throw error;
    }
    bytes = 0;
    percent = 0;
    await applyFirmware(
      {
        fwup: options.fwup,
        args: options.fwupArgs,
        env: options.fwupEnv,
        devpath: options.devpath(),
        task: options.task,
        publicKeys: options.publicKeys(),
        stallMs: options.stallMs,
        clock,
        // Not `signal`, which fwup's own end aborts: its reason would stand for what fwup said.
        signal: stopping.signal,
        onProgress: reporter("updating"),
        onWarning: (text) => log.info(`fwup: ${text}`),
      },
      (fwupEnded) => {
        fwupEnded.addEventListener("abort", () => abort.abort(fwupEnded.reason), { once: true });
        return proving(stream, (count) => {
          bytes += count;
          wentOn();
        });
      },
    );
    return metadata;
  };

  const write = async (offer: Offer): Promise<FirmwareMetadata> => {
    const abort = new AbortController();
    const onStop = (): void => abort.abort(stopping.signal.reason);
    stopping.signal.addEventListener("abort", onStop, { once: true });
    try {
      stopping.signal.throwIfAborted();
      return await writeOnce(offer, abort);
    } finally {
      stopping.signal.removeEventListener("abort", onStop);
      abort.abort(new Error("the update has ended")); // whatever still reads ends with it
    }
  };

  /** Starts over, once, when the file has changed after bytes of it were with fwup. */
  const writeAgainIfChanged = async (offer: Offer): Promise<FirmwareMetadata> => {
    try {
      return await write(offer);
    } catch (error) {
      const changed = failedWith(error, "file_changed");
      if (!changed || (state !== "checking" && state !== "writing")) throw error;
      log.warn("the update starts over: the file has changed on the server", { uuid: offer.announced.uuid });
      move("restarted");
      return await write(offer);
    }
  };

  const undo = async (finished: boolean): Promise<void> => {
    try {
      await options.undo(finished);
    } catch (error) {
      log.error(`the next boot may run firmware that is not proven: ${messageOf(error)}`);
    }
  };

  const install = async (offer: Offer): Promise<Outcome> => {
    const refused = refusal();
    if (refused !== undefined) return { result: "failed", reason: refused, blame: "circumstances" };
    const decision = await options.decide(offer, stopping.signal);
    if (decision.action === "ignore") return { result: "ignored", reason: decision.reason };
    if (decision.action === "reschedule") return { ...decision, result: "rescheduled" };
    move("accepted");
    options.onNews(offer, { type: "started", networkInterface: await offer.networkInterface?.() });
    await remember(offer, async (history, uuid) => history.started(uuid));
    try {
      const firmware = await writeAgainIfChanged(offer);
      await options.onInstalled(offer, firmware);
      return { result: "installed", firmware };
    } catch (error) {
      // What is withheld from fwup keeps it from finishing, unless more than that follows the archive's end.
      if (state === "writing") await undo(failedWith(error, "fwup_unproven"));
      return { result: "failed", reason: reasonOf(error), blame: blameOf(error) };
    }
  };

  const run = async (offer: Offer): Promise<Outcome> => {
    current = offer;
    percent = 0;
    move("offered");
    options.onNews(offer, { type: "received" });
    let outcome: Outcome;
    try {
      outcome = await install(offer);
    } catch (error) {
      outcome = { result: "failed", reason: reasonOf(error), blame: "circumstances" };
    }
    if (!stopping.signal.aborted) {
      await remember(offer, async (history, uuid) => {
        if (outcome.result === "installed") await history.installed(uuid);
        if (outcome.result === "failed") await history.failed(uuid, outcome.reason, outcome.blame);
      });
    }
    move(outcome.result);
    if (outcome.result === "installed") log.info("the update is installed", { uuid: outcome.firmware.uuid });
    else log.warn(`the update is ${outcome.result}: ${outcome.reason}`, { uuid: offer.announced.uuid });
    options.onNews(offer, { type: "ended", outcome });
    if (outcome.result !== "installed") current = undefined;
    running = undefined;
    next();
    return outcome;
  };

  const start = async (offer: Offer): Promise<Outcome> => {
    running = run(offer);
    return running;
  };

  const next = (): void => {
    const offer = waiting;
    waiting = undefined;
    if (offer === undefined || stopping.signal.aborted) return;
    if (state === "idle") launch(offer);
    else answerLater(offer);
  };

  /** For an offer that comes while an installed update waits for its reboot. */
  const answerLater = (offer: Offer): void => {
    const reason = "an installed update waits for its reboot";
    log.info("the update is put off", { uuid: offer.announced.uuid, reason });
    const outcome: Outcome = { result: "rescheduled", delayMs: REBOOT_PENDING_MS, reason };
    options.onNews(offer, { type: "ended", outcome });
  };

  const launch = (offer: Offer): void => {
    start(offer).catch((error: unknown) => log.error(`update: ${messageOf(error)}`));
  };

  return {
    get status() {
      const busy = state !== "idle" && state !== "installed";
      return {
        state,
        uuid: current?.announced.uuid ?? null,
        percent,
        stillForMs: busy ? clock.monotonic() - wentOnMs : undefined,
      };
    },
    offer(offer) {
      if (stopping.signal.aborted) return;
      if (state === "idle") {
        launch(offer);
      } else if (offer.announced.uuid === current?.announced.uuid) {
        log.info("the same update again: it is under way", { uuid: offer.announced.uuid });
      } else if (state === "installed") {
        answerLater(offer);
      } else {
        log.info("another update waits until this one is decided", { uuid: offer.announced.uuid });
        waiting = offer;
      }
    },
    async apply(offer) {
      if (state === "installed") {
        throw new Failure("unavailable", "an update is installed and waits for its reboot; reboot first");
      }
      if (state !== "idle")
        throw new Failure("unavailable", "an update is under way; try again when it has ended");
      return start(offer);
    },
    async settled() {
      while (running !== undefined) await running;
    },
    async stop(graceMs) {
      waiting = undefined;
      if (state === "finishing" && running !== undefined) await within(clock, graceMs, running, undefined);
      stopping.abort(new Failure("failed", "the agent was stopped"));
      await running;
    },
  };
}

/** In the words the hub shows; fwup's own are marked, as NervesHub looks for them. */
function reasonOf(error: unknown): string {
  const text = redact(messageOf(error));
  return fwupFailed(error) || failedWith(error, "fwup_busy") ? `fwup error: ${text}` : text;
}

/** Whether fwup had begun the update and failed at it. */
function fwupFailed(error: unknown): boolean {
  return failedWith(error, "fwup_refused", "fwup_crashed", "fwup_stalled", "fwup_unproven");
}

/** Whether the same firmware will fail again: it, or fwup's way with it, was wrong, not the line or the board. */
function blameOf(error: unknown): Blame {
  if (fwupFailed(error)) return "firmware";
  if (failedWith(error, "fwup_busy")) return "circumstances";
  return error instanceof Failure && error.kind === "other" ? "firmware" : "circumstances";
}

/** nerves_hub_link sends progress no closer than this, and only when the whole percentage grew. */
const MIN_INTERVAL_MS = 500;

/**
 * Lets a whole percentage through when it grew and the last one is long enough ago; the first and 100
 * always. `report` gets what passes.
 */
export function throttleProgress(clock: Clock, report: (percent: number) => void): (percent: number) => void {
  let last = -1;
  let lastAtMs = Number.NEGATIVE_INFINITY;
  return (percent) => {
    const whole = Math.max(0, Math.min(100, Math.floor(percent)));
    if (whole <= last) return;
    if (whole < 100 && clock.monotonic() - lastAtMs < MIN_INTERVAL_MS) return;
    last = whole;
    lastAtMs = clock.monotonic();
    report(whole);
  };
}
