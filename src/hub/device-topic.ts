/**
 * The board's side of topic `device`: what the hub sends comes out as messages, what the board reports goes
 * in. NervesHub never replies to pushes, so a status that was pushed on a dying connection is lost without a
 * trace; statuses are therefore kept until a heartbeat's reply shows that the hub has read them, and sent again
 * after each join until then.
 */
import { EventEmitter } from "node:events";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { shortened } from "../platform/text.ts";
import type { Channel } from "./channel.ts";
import {
  type DeviceMessage,
  type HubMessage,
  joinPayload,
  type JoinState,
  parseHubMessage,
  parseJoinReply,
  type ProgressStage,
  type UpdateStatus,
} from "./device-messages.ts";
import type { HubLink } from "./link.ts";
import type { Dialect } from "./seed-dialect.ts";
import { type ResultStore, UnreadStatuses } from "./unread-statuses.ts";

export interface DeviceTopicOptions {
  readonly link: HubLink;
  readonly topic: string;
  /** Puts messages in a server's own words. Default: as they are. */
  readonly dialect?: Dialect<WireMessage>;
  /** Keeps unread results for the next agent. Default: they end with this one. */
  readonly results?: ResultStore;
  readonly log: Log;
}

interface WireMessage {
  readonly event: string;
  readonly payload: unknown;
}

interface DeviceTopicEvents {
  message: [message: HubMessage];
  joined: [];
  /** The join has ended, by the hub or with the connection; the topic is joined again by itself. */
  lost: [];
  /** A status was sent, maybe not for the first time: the hub counts from the last time it reads it. */
  statusSent: [status: UpdateStatus];
}

const MAX_UNKNOWN = 32;
/** In characters. */
const MAX_EVENT_NAME = 64;
const CONFIRM_TIMEOUT_MS = 10_000;

/** Adds the topic to the link. It is joined at each connection, once {@link setJoinState} has been called. */
export class DeviceTopic extends EventEmitter<DeviceTopicEvents> {
  readonly #options: DeviceTopicOptions;
  readonly #channel: Channel;
  #joinState: (() => JoinState) | undefined;
  readonly #unread: UnreadStatuses;
  /** What the last join said of the running slot. */
  #joinedValidated = false;
  /** The hub was asked to send its update once more, and has not sent it yet. */
  #asking = false;
  readonly #unknownEvents = new Set<string>();

  constructor(options: DeviceTopicOptions) {
    super();
    this.#options = options;
    this.#unread = new UnreadStatuses(options.results);
    this.#channel = options.link.channel(options.topic, {
      joinPayload: () => this.#joinPayload(),
      onJoined: (response) => this.#handleJoined(response),
      onLost: () => this.emit("lost"),
      onMessage: (event, payload) => {
        const message = parseHubMessage(event, payload);
        if (message.type === "unknown") this.#warnOfUnknown(event);
        else this.#receive(message);
      },
    });
  }

  /** Says where each join finds the state of the board; called once, before the link is started. */
  setJoinState(joinState: () => JoinState): void {
    this.#joinState = joinState;
  }

  get joined(): boolean {
    return this.#channel.joined;
  }

  /** Reports the state of the update of `uuid`; kept and sent again until the hub has surely read it. */
  reportStatus(uuid: string | null, status: UpdateStatus): void {
    this.#asking = false;
    this.#unread.add({ uuid, status });
    if (this.#sendStatus(status)) this.#confirmSoon();
  }

  /** Reports how far an update is; lost when there is no hub, since the next report says more. */
  reportProgress(value: number, stage: ProgressStage): void {
    this.send({ event: "fwup_progress", payload: { value, stage } });
  }

  /**
   * Sends a message; lost when there is no hub.
   * @returns false when it was not sent
   */
  send(message: DeviceMessage): boolean {
    const { dialect } = this.#options;
    const wire: WireMessage | undefined = dialect === undefined ? message : dialect.translate(message);
    return wire === undefined || this.#channel.push(wire.event, wire.payload);
  }

  /**
   * Joins once more as a board that is not busy: the hub takes back the update under way and sends it again,
   * with a fresh URL (protocol 4.4). Until it has, or a status was reported, every join says so.
   */
  askForUpdate(): void {
    this.#asking = true;
    // Sent again, these would have the hub believe in an update under way, and send none.
    this.#unread.retain(({ status }) => status.status !== "received" && status.status !== "started");
    this.#channel.rejoin();
  }

  /** Joins once more, so that the hub looks whether there is an update. */
  rejoin(): void {
    // Statuses that the hub has read must not be sent again, since a delay would then begin again.
    this.flush(CONFIRM_TIMEOUT_MS)
      .then(() => this.#channel.rejoin())
      .catch((error: unknown) => this.#options.log.error(`joining again: ${messageOf(error)}`));
  }

  /** Resolves when the hub has read all that was sent, or after `timeoutMs`. */
  async flush(timeoutMs: number): Promise<void> {
    const sent = this.#unread.list;
    if (await this.#channel.confirm(timeoutMs)) this.#unread.retain((entry) => !sent.includes(entry));
  }

  #joinPayload(): unknown {
    if (this.#joinState === undefined) throw new Error("joined before the state of the board is known");
    const state = this.#joinState();
    this.#joinedValidated = state.validated;
    if (this.#asking) return joinPayload({ ...state, downloadingUuid: null });
    // While a result is still to be reported, the hub must not believe that this board has no update.
    return joinPayload({
      ...state,
      downloadingUuid: state.downloadingUuid ?? this.#unread.list.at(-1)?.uuid ?? null,
    });
  }

  #handleJoined(response: unknown): void {
    this.#options.log.info("joined the hub", { topic: this.#options.topic });
    for (const { status } of this.#unread.list) this.#sendStatus(status);
    if (this.#unread.list.length > 0) this.#confirmSoon();
    const state = this.#joinState?.();
    const { dialect } = this.#options;
    if (dialect !== undefined && this.#unread.list.length === 0 && state?.downloadingUuid === null) {
      this.#channel.push(dialect.idle.event, dialect.idle.payload);
    }
    // The slot was marked good while the join was under way, so what that was sent on had not been joined yet.
    if (!this.#joinedValidated && state?.validated === true) {
      this.send({ event: "firmware_validated", payload: {} });
    }
    this.emit("joined");
    const message = parseJoinReply(response);
    if (message !== undefined) this.#receive(message);
  }

  #receive(message: HubMessage): void {
    if (message.type === "update" || message.type === "bad-update") this.#asking = false;
    this.emit("message", message);
  }

  #sendStatus(status: UpdateStatus): boolean {
    const sent = this.send({ event: "status_update", payload: status });
    if (sent) this.emit("statusSent", status);
    return sent;
  }

  #confirmSoon(): void {
    this.flush(CONFIRM_TIMEOUT_MS).catch((error: unknown) =>
      this.#options.log.error(`confirming: ${messageOf(error)}`),
    );
  }

  /** Once for each name, so that a flood leaves the log readable. */
  #warnOfUnknown(name: string): void {
    const event = shortened(name, MAX_EVENT_NAME); // it is kept
    if (this.#unknownEvents.has(event) || this.#unknownEvents.size === MAX_UNKNOWN) return;
    this.#unknownEvents.add(event);
    this.#options.log.warn(`ignored the hub's message ${event}: not known`);
  }
}
