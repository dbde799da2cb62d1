/**
 * The board's side of topic `extensions` (protocol §6). The hub decides which extensions are attached; the board
 * offers only those that the configuration allows.
 */
import * as v from "valibot";
import type { Channel } from "../hub/channel.ts";
import type { HubLink } from "../hub/link.ts";
import type { Clock } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";
import { Attachment } from "./attachment.ts";
import type { Extension } from "./extension.ts";

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

const Names = v.array(v.string());
const AttachOrDetach = v.object({ extensions: v.union([v.literal("all"), Names]) });

export class ExtensionsTopic {
  readonly #options: ExtensionsTopicOptions;
  readonly #extensions: ReadonlyMap<string, Extension>;
  readonly #attachments = new Map<string, Attachment>();
  #channel: Channel | undefined;

  constructor(options: ExtensionsTopicOptions) {
    this.#options = options;
    this.#extensions = new Map(options.extensions.map((extension) => [extension.name, extension]));
  }

  /** The names of the extensions that are attached. */
  get attached(): readonly string[] {
    return [...this.#attachments.keys()];
  }

  /** The hub asks for extensions: joins the topic unless it is joined. */
  join(): void {
    if (this.#channel !== undefined || this.#extensions.size === 0) return;
    const { link, log } = this.#options;
    this.#channel = link.channel(TOPIC, {
      maxUnsentBytes: MAX_UNSENT_BYTES,
      joinPayload: () =>
        Object.fromEntries([...this.#extensions.values()].map(({ name, version }) => [name, version])),
      onJoined: (response) => {
        if (v.is(Names, response)) for (const name of response) this.#attach(name);
        else log.warn("the hub's answer to the join names no extensions");
      },
      onLost: () => void this.#detachAll(), // never rejects; without a join nothing is pushed
      onMessage: (event, payload) => this.#handle(event, payload),
    });
  }

  /** The connection has ended; the hub asks again on the next one. */
  disconnected(): void {
    if (this.#channel !== undefined) this.#options.link.drop(this.#channel);
    this.#channel = undefined;
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
    const attachment = new Attachment({
      extension,
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
