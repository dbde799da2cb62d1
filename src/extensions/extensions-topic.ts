/**
 * The board's side of topic `extensions` (protocol §6). The hub decides which extensions are attached; the board
 * offers only those that the configuration allows.
 */
import { isDeepStrictEqual } from "node:util";
import * as v from "valibot";
import type { Channel } from "../hub/channel.ts";
import type { HubLink } from "../hub/link.ts";
import type { Cancel, Clock } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";
import { Attachment } from "./attachment.ts";
import type { Extension } from "./extension.ts";
import { agreedVersions, lowestVersion, type ExtensionState, type OfferedVersions } from "./negotiation.ts";

export interface ExtensionsTopicOptions {
  readonly link: HubLink;
  /** Those that the configuration allows. */
  readonly extensions: readonly Extension[];
  readonly clock: Clock;
  readonly log: Log;
}

const TOPIC = "extensions";
/** Extensions may fill the line's buffer up to here; the rest is kept for the messages of an update. */
const MAX_UNSENT_BYTES = 256 * 1024;

/** How long the hub's `extensions:get` may take after the join of topic `device` (protocol §7.1). */
const OFFER_WAIT_MS = 5000;
/** The answer of Phoenix to a topic that it does not have. */
const UNMATCHED = "unmatched topic";

const Names = v.array(v.string());
const AttachOrDetach = v.object({ extensions: v.union([v.literal("all"), Names]) });

export class ExtensionsTopic {
  readonly #options: ExtensionsTopicOptions;
  readonly #extensions: ReadonlyMap<string, Extension>;
  readonly #attachments = new Map<string, Attachment>();
  #channel: Channel | undefined;
  /** It is decided what to join with on this connection. */
  #asked = false;
  /** The versions that the topic is joined with. */
  #agreed: Readonly<Record<string, string>> = {};
  /** The extensions that the hub's answer to the join allows; undefined before it. */
  #allowed: ReadonlySet<string> | undefined;
  /** Ends the wait for the hub's offer. */
  #cancelWait: Cancel | undefined;

  constructor(options: ExtensionsTopicOptions) {
    this.#options = options;
    this.#extensions = new Map(options.extensions.map((extension) => [extension.name, extension]));
  }

  /** The names of the extensions that are attached. */
  get attached(): readonly string[] {
    return [...this.#attachments.keys()];
  }

  /** What became of each extension that the configuration turns on. */
  get states(): readonly ExtensionState[] {
    return [...this.#extensions.keys()].map((name) => {
      const attachment = this.#attachments.get(name);
      if (attachment !== undefined) return { name, state: "attached", version: attachment.version };
      return { name, state: this.#stateWithout(name), version: null };
    });
  }

  /** The state of an extension that is not attached. */
  #stateWithout(name: string): ExtensionState["state"] {
    if (!this.#asked) return "waiting";
    if (this.#agreed[name] === undefined) return "off_at_hub";
    if (this.#allowed === undefined) return "waiting";
    return this.#allowed.has(name) ? "detached" : "off_at_hub";
  }

  /** Topic `device` was joined: a hub that makes no offer within {@link OFFER_WAIT_MS} gets the lowest versions. */
  deviceJoined(): void {
    if (this.#asked || this.#extensions.size === 0) return;
    this.#cancelWait?.();
    this.#cancelWait = this.#options.clock.after(OFFER_WAIT_MS, () => this.#joinWith(undefined));
  }

  /** Topic `device` is not joined any more, and extensions never come before it; it is joined again by itself. */
  deviceLost(): void {
    this.#cancelWait?.();
  }

  /**
   * The hub asks for extensions: joins the topic, once more if other versions can be agreed on now.
   * @param offered undefined when the hub does not say which versions it has
   */
  join(offered: OfferedVersions | undefined): void {
    this.#cancelWait?.();
    this.#joinWith(offered);
  }

  #joinWith(offered: OfferedVersions | undefined): void {
    const agreed = agreedVersions(this.#extensions.values(), offered);
    if (this.#asked && isDeepStrictEqual(agreed, this.#agreed)) return;
    const missing = [...this.#extensions.keys()].filter((name) => agreed[name] === undefined);
    if (missing.length > 0) {
      this.#options.log.info("the hub has these extensions switched off, or not in a version of this agent", {
        extensions: missing.join(", "),
      });
    }
    this.#asked = true;
    this.#agreed = agreed;
    if (this.#channel !== undefined) this.#channel.rejoin();
    else if (Object.keys(agreed).length > 0) this.#channel = this.#open();
  }

  #open(): Channel {
    const { link, log } = this.#options;
    return link.channel(TOPIC, {
      maxUnsentBytes: MAX_UNSENT_BYTES,
      joinPayload: () => this.#agreed,
      onJoined: (response) => this.#joined(response),
      onRefused: (reason) => {
        // A hub of before the extensions; it would be asked once a minute for ever.
        if (reason !== UNMATCHED) return;
        log.info("the hub knows no extensions");
        this.#leave();
        this.#agreed = {};
      },
      onLost: () => {
        this.#allowed = undefined;
        void this.#detachAll(); // never rejects; without a join nothing is pushed
      },
      onMessage: (event, payload) => this.#handle(event, payload),
    });
  }

  #joined(response: unknown): void {
    const { log } = this.#options;
    if (!v.is(Names, response)) {
      log.warn("the hub's answer to the join names no extensions");
      return;
    }
    this.#allowed = new Set(response);
    const refused = Object.keys(this.#agreed).filter((name) => !response.includes(name));
    if (refused.length > 0)
      log.info("the hub has these extensions switched off", { extensions: refused.join(", ") });
    for (const name of response) this.#attach(name);
  }

  /** The connection has ended; the hub asks again on the next one. */
  disconnected(): void {
    this.#cancelWait?.();
    this.#leave();
    this.#asked = false;
    this.#agreed = {};
  }

  #leave(): void {
    if (this.#channel !== undefined) this.#options.link.drop(this.#channel);
    this.#channel = undefined;
    this.#allowed = undefined;
  }

  /** Detaches all and leaves the topic. */
  async stop(): Promise<void> {
    await this.#detachAll();
    this.disconnected();
  }

  #handle(event: string, payload: unknown): void {
    if (event === "attach") {
      for (const name of this.#namesIn(event, payload)) this.#attach(name);
    } else if (event === "detach") {
      for (const name of this.#namesIn(event, payload)) void this.#detach(name); // never rejects
    } else {
      const colon = event.indexOf(":");
      this.#attachments.get(event.slice(0, Math.max(0, colon)))?.receive(event.slice(colon + 1), payload);
    }
  }

  /** The extensions that an `attach` or `detach` names. */
  #namesIn(event: string, payload: unknown): readonly string[] {
    const { success, output } = v.safeParse(AttachOrDetach, payload, { abortEarly: true });
    if (!success) {
      this.#options.log.warn(`ignored the hub's ${event}: it names no extensions`);
      return [];
    }
    return output.extensions === "all" ? [...this.#extensions.keys()] : output.extensions;
  }

  #attach(name: string): void {
    const extension = this.#extensions.get(name);
    if (extension === undefined || this.#attachments.has(name)) return;
    const { clock, log } = this.#options;
    // One that an operator has just switched on was not in the join.
    const version = this.#agreed[name] ?? lowestVersion(extension);
    const attachment = new Attachment({
      ...{ extension, version },
      push: (event, payload) => this.#push(`${name}:${event}`, payload),
      onStarted: () => this.#push(`${name}:attached`, {}),
      onFailed: (reason) => {
        this.#attachments.delete(name);
        this.#push(`${name}:error`, { reason });
      },
      clock,
      log: log.scope(name),
    });
    this.#attachments.set(name, attachment);
  }

  async #detach(name: string): Promise<void> {
    const attachment = this.#attachments.get(name);
    if (attachment === undefined) return;
    this.#attachments.delete(name);
    await attachment.end();
    // The extension may have been attached again while this one ended.
    if (!this.#attachments.has(name)) this.#push(`${name}:detached`, {});
  }

  async #detachAll(): Promise<void> {
    await Promise.all(this.attached.map(async (name) => this.#detach(name)));
  }

  #push(event: string, payload: unknown): boolean {
    return this.#channel?.push(event, payload) ?? false;
  }
}
