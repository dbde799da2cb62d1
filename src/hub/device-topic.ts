import type { Channel } from "./channel.ts";
import {
  joinPayload,
  parseHubMessage,
  parseJoinReply,
  type DeviceMessage,
  type HubMessage,
  type JoinState,
  type ProgressStage,
  type UpdateStatus,
} from "./device-messages.ts";
import type { HubLink } from "./link.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";

export interface DeviceTopicOptions {
  readonly link: HubLink;
  readonly topic: string;
  /** Puts messages in a server's own words; undefined for what it has no word for. Default: as they are. */
  readonly dialect?: (message: DeviceMessage) => WireMessage | undefined;
  readonly joinState: () => JoinState;
  readonly onMessage: (message: HubMessage) => void;
  readonly onJoined: () => void;
  /** A status was sent, maybe not for the first time: the hub counts from the last time it reads it. */
  readonly onStatusSent: (status: UpdateStatus) => void;
  readonly log: Log;
}

interface WireMessage {
  readonly event: string;
  readonly payload: unknown;
}

/** The board's side of topic `device`. */
export interface DeviceTopic {
  readonly joined: boolean;
  /** Tells how the update of `uuid` stands; kept and told again until the hub has surely read it. */
  status(uuid: string | null, status: UpdateStatus): void;
  /**
   * Joins anew as a board that is not busy: the hub takes back the update under way and sends it again, with
   * a fresh URL (protocol 4.4). Until it has, or a status was told, every join says so.
   */
  askForUpdate(): void;
  /** Tells how far an update is; lost when there is no hub, since the next one says more. */
  progress(value: number, stage: ProgressStage): void;
  /** Joins once more, so that the hub looks whether there is an update. */
  rejoin(): void;
  /** Tells anything else; lost when there is no hub. */
  tell(message: DeviceMessage): void;
  /** Resolves when the hub has read all that was told, or after `timeoutMs`. */
  flush(timeoutMs: number): Promise<void>;
}

/** More would mean that the hub has read nothing for a whole row of updates. */
const MAX_UNREAD = 16;
const MAX_UNKNOWN = 32;
const CONFIRM_TIMEOUT_MS = 10_000;

/** Joins the topic on `link` and stays joined. */
export function createDeviceTopic(options: DeviceTopicOptions): DeviceTopic {
  const { log } = options;
  /** Statuses that the hub may not have read: NervesHub never replies to pushes, a heartbeat's reply does. */
  let unread: readonly { readonly uuid: string | null; readonly status: UpdateStatus }[] = [];
  let asking = false;

  const unknown = new Set<string>();

  const tell = (message: DeviceMessage): boolean => {
    const wire: WireMessage | undefined = options.dialect === undefined ? message : options.dialect(message);
    return wire === undefined || channel.push(wire.event, wire.payload);
  };

  const sendStatus = (status: UpdateStatus): boolean => {
    const sent = tell({ event: "status_update", payload: status });
    if (sent) options.onStatusSent(status);
    return sent;
  };

  const confirm = async (timeoutMs: number): Promise<void> => {
    const sent = unread;
    if (await channel.confirm(timeoutMs)) unread = unread.filter((entry) => !sent.includes(entry));
  };

  const confirmSoon = (): void => {
    confirm(CONFIRM_TIMEOUT_MS).catch((error: unknown) => log.error(`confirming: ${messageOf(error)}`));
  };

  /** Once for each name, so that a flood leaves the log readable. */
  const warnOfUnknown = (event: string): void => {
    if (unknown.has(event) || unknown.size === MAX_UNKNOWN) return;
    unknown.add(event);
    log.warn(`ignored the hub's message ${event}: not known`);
  };

  const take = (message: HubMessage): void => {
    if (message.type === "update" || message.type === "bad-update") asking = false;
    options.onMessage(message);
  };

  const channel: Channel = options.link.channel(options.topic, {
    joinPayload: () => {
      const state = options.joinState();
      if (asking) return joinPayload({ ...state, downloadingUuid: null });
      // With a result still to be told, the hub must not take this board for one without an update.
      return joinPayload({ ...state, downloadingUuid: state.downloadingUuid ?? unread.at(-1)?.uuid ?? null });
    },
    onJoined(response) {
      log.info("joined the hub", { topic: options.topic });
      for (const { status } of unread) sendStatus(status);
      if (unread.length > 0) confirmSoon();
      options.onJoined();
      const message = parseJoinReply(response);
      if (message !== undefined) take(message);
    },
    onMessage: (event, payload) => {
      const message = parseHubMessage(event, payload);
      if (message.type === "unknown") warnOfUnknown(event);
      else take(message);
    },
  });

  return {
    get joined() {
      return channel.joined;
    },
    askForUpdate() {
      asking = true;
      // Told anew, they would have the hub believe in an update under way, and send none.
      unread = unread.filter(({ status }) => status.status !== "received" && status.status !== "started");
      channel.rejoin();
    },
    status(uuid, status) {
      asking = false;
      unread = [...unread.slice(1 - MAX_UNREAD), { uuid, status }];
      if (sendStatus(status)) confirmSoon();
    },
    progress(value, stage) {
      tell({ event: "fwup_progress", payload: { value, stage } });
    },
    rejoin() {
      // What the hub has read meanwhile must not be told again: a delay would count from then on.
      confirm(CONFIRM_TIMEOUT_MS)
        .then(() => channel.rejoin())
        .catch((error: unknown) => log.error(`joining again: ${messageOf(error)}`));
    },
    tell(message) {
      tell(message);
    },
    async flush(timeoutMs) {
      await confirm(timeoutMs);
    },
  };
}
