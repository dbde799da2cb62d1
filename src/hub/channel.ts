/**
 * One topic of a Phoenix socket: joined whenever there is a connection, and joined again by itself when the
 * server loses it. A server whose database hangs loses the joins of a whole fleet at once, so joins are repeated with
 * growing, random delays, as connections are. What the owner's handlers throw is logged: it ends neither the topic nor the link.
 */
import * as v from "valibot";
import type { Cancel } from "../platform/clock.ts";
import { noteDefect } from "../platform/defects.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { Backoff } from "../platform/pace.ts";
import { shortened } from "../platform/text.ts";
import type { World } from "../platform/world.ts";
import type { Frame } from "./serializer.ts";
import type { PhoenixSocket } from "./socket.ts";

/** The owner's part of a topic. */
export interface ChannelHandlers {
  /** Pushes are refused while more than this waits on the whole connection. Default: the socket's own limit. */
  readonly maxUnsentBytes?: number;
  /** Read at each join, so that the payload holds what is true then. */
  readonly joinPayload: () => unknown;
  readonly onJoined: (response: unknown) => void;
  /** The hub refused a join. Unless the owner leaves the topic now, it is joined again later. */
  readonly onRefused?: (reason: string) => void;
  /** The connection ended, or the server closed the channel or crashed. The topic is joined again by itself. */
  readonly onLost?: () => void;
  readonly onMessage: (event: string, payload: unknown) => void;
}

export interface ChannelOptions extends ChannelHandlers {
  readonly topic: string;
  /** After a join that held, the next one comes at a random moment of this time, ms. */
  readonly spreadMs: number;
  readonly world: World;
  readonly log: Log;
}

const JOIN_TIMEOUT_MS = 10_000;
/** A join that held this long was a good one: delays start over after it. */
const STABLE_MS = 60_000;
/** In characters. */
const MAX_REASON = 256;
const REJOIN = { minMs: 1000, maxMs: 60_000, jitter: 1 };

const Reply = v.object({
  status: v.picklist(["ok", "error"]),
  response: v.optional(v.unknown()),
});
const Reason = v.object({ reason: v.string() });

/** The reason in a `phx_error`, for the log. */
function given(payload: unknown): string {
  return v.is(Reason, payload) ? `: ${shortened(payload.reason, MAX_REASON)}` : "";
}

/** `waiting` is the time between a failed join, or a crash, and the next join. */
type State =
  | { readonly name: "detached" }
  | { readonly name: "joining"; readonly joinRef: string; readonly cancel: Cancel }
  | { readonly name: "joined"; readonly joinRef: string; readonly sinceMs: number }
  | { readonly name: "waiting"; readonly cancel: Cancel };

/** One topic, joined whenever there is a socket, and joined again when the server loses it. */
export class Channel {
  readonly topic: string;
  readonly #options: ChannelOptions;
  readonly #backoff: Backoff;
  #socket: PhoenixSocket | undefined;
  #state: State = { name: "detached" };

  constructor(options: ChannelOptions) {
    this.topic = options.topic;
    this.#options = options;
    this.#backoff = new Backoff({ ...REJOIN, spreadMs: options.spreadMs }, options.world.random);
  }

  get joined(): boolean {
    return this.#state.name === "joined";
  }

  /** False when it was not sent: not joined, or the line is full. NervesHub never replies to pushes. */
  push(event: string, payload: unknown): boolean {
    if (this.#socket === undefined || this.#state.name !== "joined") return false;
    const { joinRef } = this.#state;
    const frame = { joinRef, ref: this.#socket.nextRef(), topic: this.topic, event, payload };
    return this.#socket.send(frame, this.#options.maxUnsentBytes);
  }

  /**
   * Sends a heartbeat and waits for its reply: true when the hub has surely read all that was pushed before,
   * and none of it on a join that it had lost.
   */
  async confirm(timeoutMs: number): Promise<boolean> {
    const join = this.#state;
    if (this.#socket === undefined || join.name !== "joined") return false;
    return (await this.#socket.confirm(timeoutMs)) && this.#state === join;
  }

  /** Joins on a new connection. */
  attach(socket: PhoenixSocket): void {
    this.#socket = socket;
    this.#join();
  }

  /** Joins once more on the same connection, at once: the server closes the old join. */
  rejoin(): void {
    this.#join();
  }

  /** The connection has ended. */
  detach(): void {
    this.#resetBackoffIfStable();
    this.#socket = undefined;
    this.#setState({ name: "detached" });
  }

  /** Leaves for good. */
  leave(): void {
    const socket = this.#socket;
    if (socket !== undefined && (this.#state.name === "joined" || this.#state.name === "joining")) {
      const { joinRef } = this.#state;
      socket.send({ joinRef, ref: socket.nextRef(), topic: this.topic, event: "phx_leave", payload: {} });
    }
    this.#socket = undefined;
    this.#setState({ name: "detached" });
  }

  /** Handles a frame of this topic. */
  handle(frame: Frame): void {
    if (this.#state.name !== "joining" && this.#state.name !== "joined") return;
    if (frame.event === "phx_reply") {
      this.#handleReply(frame);
      return;
    }
    // Broadcasts carry no join_ref (seen); messages of an earlier join are not for this one.
    if (frame.joinRef !== null && frame.joinRef !== this.#state.joinRef) return;
    switch (frame.event) {
      case "phx_error":
      case "phx_err": // the seed page's spelling
        this.#joinLater(`the hub's channel crashed${given(frame.payload)}`);
        break;
      case "phx_close":
        this.#joinLater("the hub closed the channel");
        break;
      default:
        this.#guard(() => this.#options.onMessage(frame.event, frame.payload));
    }
  }

  #handleReply(frame: Frame): void {
    const state = this.#state;
    const reply = v.safeParse(Reply, frame.payload);
    if (!reply.success) {
      this.#options.log.warn(`${this.topic}: ignored a reply that is neither ok nor error`);
      return;
    }
    const { status, response } = reply.output;
    const reason = v.safeParse(Reason, response);
    if (state.name === "joining" && frame.ref === state.joinRef) {
      if (status === "error") {
        const why = reason.success ? reason.output.reason : "no reason given";
        this.#guard(() => this.#options.onRefused?.(why));
        if (this.#state === state) this.#joinLater(`the hub refused the join: ${why}`);
        return;
      }
      const sinceMs = this.#options.world.clock.monotonic();
      this.#setState({ name: "joined", joinRef: state.joinRef, sinceMs });
      this.#guard(() => this.#options.onJoined(response));
    } else if (state.name === "joined" && reason.success && reason.output.reason === "unmatched topic") {
      this.#joinLater("the hub does not know this join any more"); // seen when its channel process has gone
    }
  }

  #join(): void {
    const socket = this.#socket;
    if (socket === undefined) return;
    const joinRef = socket.nextRef();
    const cancel = this.#options.world.clock.after(JOIN_TIMEOUT_MS, () =>
      this.#joinLater(`no answer to the join in ${JOIN_TIMEOUT_MS / 1000} s`),
    );
    this.#setState({ name: "joining", joinRef, cancel });
    this.#guard(() => {
      const payload = this.#options.joinPayload();
      socket.send({ joinRef, ref: joinRef, topic: this.topic, event: "phx_join", payload });
    });
  }

  #joinLater(reason: string): void {
    this.#resetBackoffIfStable();
    const delayMs = this.#backoff.next();
    this.#options.log.warn(`${this.topic}: ${reason}; joining again`, {
      in_s: Math.round(delayMs / 100) / 10,
    });
    const cancel = this.#options.world.clock.after(delayMs, () => this.#join());
    this.#setState({ name: "waiting", cancel });
  }

  #resetBackoffIfStable(): void {
    if (this.#state.name !== "joined") return;
    if (this.#options.world.clock.monotonic() - this.#state.sinceMs >= STABLE_MS) this.#backoff.reset();
  }

  /** Every change of state goes through here, so that no timer is left running and no loss goes unreported. */
  #setState(next: State): void {
    const previous = this.#state;
    this.#state = next;
    if (previous.name === "joining" || previous.name === "waiting") previous.cancel();
    if (previous.name === "joined") this.#guard(() => this.#options.onLost?.());
  }

  #guard(task: () => void): void {
    try {
      task();
    } catch (error) {
      noteDefect(error, this.topic);
      this.#options.log.error(`${this.topic}: ${messageOf(error)}`);
    }
  }
}
