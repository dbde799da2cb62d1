import { Failure, messageOf } from "../platform/failure.ts";
import { within, type Clock } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";
import { redact } from "../platform/redact.ts";
import { applyFirmware, usablePublicKeys } from "./fwup.ts";
import { FwupFailure } from "./fwup-process.ts";
import {
  compareWithAnnounced,
  peekMetadata,
  type AnnouncedMetadata,
  type FirmwareMetadata,
} from "./metadata.ts";
import { throttleProgress } from "./progress.ts";
import { transition, type UpdateEvent, type UpdateState } from "./update-machine.ts";

/** A firmware that could be installed. */
export interface Offer {
  /** Who asks: the hub hears of its own offers only. */
  readonly origin: "hub" | "local";
  /** uuid and the rest as far as they were announced; a local file announces nothing. */
  readonly announced: AnnouncedMetadata & { readonly version?: string | null };
  readonly sizeBytes: number | null;
  /**
   * Opens the file. What it yields is verified as far as checksums are known, and its end is withheld
   * until the whole is proven, since fwup acts as soon as it sees the archive's directory.
   */
  readonly open: (signal: AbortSignal) => AsyncIterable<Uint8Array>;
}

export type Decision =
  | { readonly action: "apply" }
  | { readonly action: "ignore"; readonly reason: string }
  | { readonly action: "reschedule"; readonly delayMs: number; readonly reason: string };

/** How an offer ended. */
export type Outcome =
  | { readonly result: "installed"; readonly firmware: FirmwareMetadata }
  | { readonly result: "failed" | "ignored"; readonly reason: string }
  | { readonly result: "rescheduled"; readonly delayMs: number; readonly reason: string };

/** What happens on the way, for the hub and for those who watch. */
export type UpdateNews =
  | { readonly type: "received" | "started" }
  | { readonly type: "progress"; readonly percent: number; readonly bytes: number }
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
  readonly decide: (offer: Offer) => Decision | Promise<Decision>;
  /** Makes the other slot invalid, flushed. */
  readonly clearTarget: (signal: AbortSignal) => Promise<void>;
  /** Makes the running slot the active one again after fwup finished a file that then proved bad. */
  readonly undo: () => Promise<void>;
  /** The other slot is written and active: told before anybody else hears of it. */
  readonly onInstalled: (offer: Offer, firmware: FirmwareMetadata) => Promise<void>;
  readonly onNews: (offer: Offer, news: UpdateNews) => void;
  readonly clock: Clock;
  readonly log: Log;
}

export interface UpdaterStatus {
  readonly state: UpdateState;
  /** The firmware under way, when one is and its uuid is known. */
  readonly uuid: string | null;
  readonly percent: number;
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
  let running: Promise<Outcome> | undefined;

  const move = (event: UpdateEvent): void => {
    const next = transition(state, event).to;
    log.debug("update", { from: state, event, to: next });
    state = next;
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

  const write = async (offer: Offer, abort: AbortController): Promise<FirmwareMetadata> => {
    const { signal } = abort;
    const query = { fwup: options.fwup, clock, signal, publicKeys: options.publicKeys() };
    const { metadata, stream } = await peekMetadata(query, offer.open(signal));
    try {
      const differences = compareWithAnnounced(metadata, offer.announced);
      if (differences.length > 0) {
        throw new Failure("other", `this is not the firmware that was announced: ${differences.join(", ")}`);
      }
      move("matches");
      await options.clearTarget(signal);
      move("cleared");
    } catch (error) {
      await stream.return();
      throw error;
    }
    let bytes = 0;
    const report = throttleProgress(clock, (whole) => {
      percent = whole;
      options.onNews(offer, { type: "progress", percent: whole, bytes });
    });
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
        onProgress: report,
        onWarning: (text) => log.info(`fwup: ${text}`),
      },
      (fwupEnded) => {
        fwupEnded.addEventListener("abort", () => abort.abort(fwupEnded.reason), { once: true });
        return proving(stream, (count) => (bytes += count));
      },
    );
    return metadata;
  };

  const undo = async (): Promise<void> => {
    try {
      await options.undo();
    } catch (error) {
      log.error(`the next boot will run firmware that is not proven: ${messageOf(error)}`);
    }
  };

  const install = async (offer: Offer): Promise<Outcome> => {
    const refused = refusal();
    if (refused !== undefined) return { result: "failed", reason: refused };
    const decision = await options.decide(offer);
    if (decision.action === "ignore") return { result: "ignored", reason: decision.reason };
    if (decision.action === "reschedule") return { ...decision, result: "rescheduled" };
    move("accepted");
    options.onNews(offer, { type: "started" });
    const abort = new AbortController();
    const onStop = (): void => abort.abort(stopping.signal.reason);
    stopping.signal.addEventListener("abort", onStop, { once: true });
    try {
      stopping.signal.throwIfAborted();
      const firmware = await write(offer, abort);
      await options.onInstalled(offer, firmware);
      return { result: "installed", firmware };
    } catch (error) {
      if (error instanceof FwupFailure && error.fault === "unproven") await undo();
      return { result: "failed", reason: reasonOf(error) };
    } finally {
      stopping.signal.removeEventListener("abort", onStop);
      abort.abort(new Error("the update has ended")); // whatever still reads ends with it
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
      outcome = { result: "failed", reason: reasonOf(error) };
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
      return { state, uuid: current?.announced.uuid ?? null, percent };
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
      stopping.abort(new Failure("other", "the agent was stopped"));
      await running;
    },
  };
}

/** In the words the hub shows; fwup's own are marked, as NervesHub looks for them. */
function reasonOf(error: unknown): string {
  const text = redact(messageOf(error));
  return error instanceof FwupFailure && error.fault !== "not-started" ? `fwup error: ${text}` : text;
}
