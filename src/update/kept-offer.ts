/**
 * The hub's update, kept in the state folder until it has ended here, so that the next agent goes on with it. The hub
 * sends an update that no deployment made once only, and counts an attempt for each one that it sends again: an agent
 * that asked for it anew after each start would lose the first and be blocked for the second (protocol 4.4). The file
 * holds the signed URL; it is readable by its owner only, and removed at the update's end.
 */
import { EventEmitter } from "node:events";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { Update } from "../hub/device-messages.ts";
import type { Cancel, Clock } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { StateFile } from "../platform/state-file.ts";
import { EARLIEST_TRUE_TIME_MS } from "./history.ts";

export interface KeptOfferEvents {
  /** The board goes on with the update that an earlier agent had received. */
  resume: [update: Update];
}

const Kept = v.object({ format: v.literal(1), atMs: v.number(), update: Update });
type Kept = v.InferOutput<typeof Kept>;

/** By then the hub has given it up, and URLs of all its stores have expired: it decides anew what the board gets. */
const MAX_AGE_MS = 24 * 60 * 60_000;
/** The hub's signing keys come right after the join; without any, the update fails and the hub hears why. */
const KEYS_TIMEOUT_MS = 10_000;

export interface KeptOfferOptions {
  readonly stateDir: string;
  /** The keys that firmware is verified with: the hub's come after the join. */
  readonly keys: { readonly usable: () => readonly string[] };
  readonly clock: Clock;
  readonly log: Log;
}

export class KeptOffer extends EventEmitter<KeptOfferEvents> {
  readonly #options: KeptOfferOptions;
  readonly #file: StateFile<typeof Kept>;
  /** What the file is to hold. */
  #kept: Kept | undefined;
  /** One write at a time; what comes in between is written once. */
  #writing: Promise<void> | undefined;
  #dirty = false;
  /** It is an earlier agent's, and is yet to be taken up. */
  #left = false;
  #cancel: Cancel = () => undefined;

  constructor(options: KeptOfferOptions) {
    super();
    this.#options = options;
    const path = join(options.stateDir, "offer.json");
    this.#file = new StateFile(path, Kept, "the update that was under way", options.log);
  }

  /**
   * Reads what an earlier agent has left.
   * @param ended whether the update of this uuid has ended, by what the board knows
   */
  async open(ended: (uuid: string) => boolean): Promise<void> {
    const { clock, log } = this.#options;
    const kept = await this.#file.read();
    if (kept === undefined) return;
    this.#kept = kept;
    const { uuid } = kept.update.firmware_meta;
    if (ended(uuid)) {
      this.ended(uuid);
    } else if (kept.atMs >= EARLIEST_TRUE_TIME_MS && clock.now() - kept.atMs > MAX_AGE_MS) {
      log.info("an update was under way too long ago; the hub may send it again", { uuid });
      this.ended(uuid);
    } else {
      log.info("an update was under way; it goes on once the hub is joined", { uuid });
      this.#left = true;
    }
  }

  /** The update to go on with once the hub is joined: until then it counts as under way. */
  get left(): string | undefined {
    return this.#left ? this.#kept?.update.firmware_meta.uuid : undefined;
  }

  /** The hub sent an update, which takes the place of the one before. */
  arrived(update: Update): void {
    this.#takeUp();
    this.#keep({ format: 1, atMs: this.#options.clock.now(), update });
  }

  /** The update of that uuid has come to its end. */
  ended(uuid: string): void {
    if (this.#kept?.update.firmware_meta.uuid !== uuid) return;
    this.#takeUp();
    this.#keep(undefined);
  }

  /** The hub is joined, or has sent its keys: goes on with what is left, as soon as it can be verified. */
  ready(): void {
    if (!this.#left) return;
    if (this.#options.keys.usable().length > 0) {
      this.#resume();
      return;
    }
    this.#cancel();
    this.#cancel = this.#options.clock.after(KEYS_TIMEOUT_MS, () => this.#resume());
  }

  /** Resolves when the file is as it is to be. */
  async stop(): Promise<void> {
    this.#takeUp();
    await this.#writing;
  }

  #resume(): void {
    this.#takeUp();
    if (this.#kept !== undefined) this.emit("resume", this.#kept.update);
  }

  #takeUp(): void {
    this.#cancel();
    this.#left = false;
  }

  #keep(kept: Kept | undefined): void {
    this.#kept = kept;
    this.#dirty = true;
    this.#writing ??= this.#write();
  }

  async #write(): Promise<void> {
    const { path } = this.#file;
    while (this.#dirty) {
      this.#dirty = false;
      try {
        if (this.#kept === undefined) await rm(path, { force: true });
        else await this.#file.write(this.#kept);
      } catch (error) {
        const text = `a restarted agent could not go on with the update: ${messageOf(error)}`;
        this.#options.log.warn(text, { path });
      }
    }
    this.#writing = undefined;
  }
}
