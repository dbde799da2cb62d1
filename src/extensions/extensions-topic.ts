import * as v from "valibot";
import type { Channel } from "../hub/channel.ts";
import type { HubLink } from "../hub/link.ts";
import type { Clock } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";
import { attach, type Attachment } from "./attachment.ts";
import type { Extension } from "./extension.ts";

export interface ExtensionsTopicOptions {
  readonly link: HubLink;
  /** Those that the configuration allows. */
  readonly extensions: readonly Extension[];
  readonly clock: Clock;
  readonly log: Log;
}

/** The board's side of topic `extensions`: who is attached is the hub's to say. */
export interface ExtensionsTopic {
  /** Names of those attached now. */
  readonly attached: readonly string[];
  /** The hub asks which there are: joins, unless it has already. */
  join(): void;
  /** The connection is gone; the hub asks again on the next one. */
  disconnected(): void;
  /** Detaches all and leaves. */
  stop(): Promise<void>;
}

const TOPIC = "extensions";
/** The update's messages have the rest of the line's buffer for themselves. */
const MAX_UNSENT_BYTES = 256 * 1024;

const Names = v.array(v.string());
const AttachOrDetach = v.object({ extensions: v.union([v.literal("all"), Names]) });

export function createExtensionsTopic(options: ExtensionsTopicOptions): ExtensionsTopic {
  const { link, log } = options;
  const known = new Map(options.extensions.map((extension) => [extension.name, extension]));
  const attachments = new Map<string, Attachment>();
  let channel: Channel | undefined;

  const push = (event: string, payload: unknown): boolean => channel?.push(event, payload) ?? false;

  const attachOne = (name: string): void => {
    const extension = known.get(name);
    if (extension === undefined || attachments.has(name)) return;
    attachments.set(
      name,
      attach({
        extension,
        push: (event, payload) => push(`${name}:${event}`, payload),
        onStarted: () => push(`${name}:attached`, {}),
        onFailed(reason) {
          attachments.delete(name);
          push(`${name}:error`, { reason });
        },
        clock: options.clock,
        log: log.scope(name),
      }),
    );
  };

  const detachOne = async (name: string): Promise<void> => {
    const attachment = attachments.get(name);
    if (attachment === undefined) return;
    attachments.delete(name);
    await attachment.end();
    // Not for one that has been attached again in the meantime.
    if (!attachments.has(name)) push(`${name}:detached`, {});
  };

  const detachAll = async (): Promise<void> => {
    await Promise.all([...attachments.keys()].map(detachOne));
  };

  /** The names that an `attach` or `detach` means. */
  const namesIn = (event: string, payload: unknown): readonly string[] => {
    const { success, output } = v.safeParse(AttachOrDetach, payload, { abortEarly: true });
    if (!success) {
      log.warn(`ignored the hub's ${event}: it names no extensions`);
      return [];
    }
    return output.extensions === "all" ? [...known.keys()] : output.extensions;
  };

  const onMessage = (event: string, payload: unknown): void => {
    if (event === "attach") {
      namesIn(event, payload).forEach(attachOne);
    } else if (event === "detach") {
      for (const name of namesIn(event, payload)) void detachOne(name); // never rejects
    } else {
      const colon = event.indexOf(":");
      attachments.get(event.slice(0, Math.max(0, colon)))?.receive(event.slice(colon + 1), payload);
    }
  };

  return {
    get attached() {
      return [...attachments.keys()];
    },
    join() {
      if (channel !== undefined || known.size === 0) return;
      channel = link.channel(TOPIC, {
        maxUnsentBytes: MAX_UNSENT_BYTES,
        joinPayload: () =>
          Object.fromEntries([...known.values()].map(({ name, version }) => [name, version])),
        onJoined(response) {
          if (v.is(Names, response)) response.forEach(attachOne);
          else log.warn("the hub's answer to the join names no extensions");
        },
        onLost: () => void detachAll(), // never rejects; without a join nothing is pushed
        onMessage,
      });
    },
    disconnected() {
      if (channel !== undefined) link.drop(channel);
      channel = undefined;
    },
    async stop() {
      await detachAll();
      if (channel !== undefined) link.drop(channel);
      channel = undefined;
    },
  };
}
