import * as v from "valibot";
import { createBackoff } from "../platform/backoff.ts";
import type { Cancel, Clock } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { Frame } from "./serializer.ts";
import type { PhoenixSocket } from "./socket.ts";

/** What a topic needs from its owner. What one of these throws is logged, and costs neither topic nor link. */
export interface ChannelHandlers {
  /** With more than this still to be sent on the whole connection, pushes are refused. Default: the socket's own limit. */
  readonly maxUnsentBytes?: number;
  /** Asked anew for every join, so that it tells the truth of that moment. */
  readonly joinPayload: () => unknown;
  readonly onJoined: (response: unknown) => void;
  /** The channel is gone: the connection ended, the server closed it or crashed; it is joined again by itself. */
  readonly onLost?: () => void;
  readonly onMessage: (event: string, payload: unknown) => void;
}

export interface ChannelOptions extends ChannelHandlers {
  readonly topic: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
}

/** One topic, joined whenever there is a socket, and joined again when the server loses it. */
export interface Channel {
  readonly topic: string;
  readonly joined: boolean;
  /** False when it was not taken: not joined, or the line is full. NervesHub never replies to pushes. */
  push(event: string, payload: unknown): boolean;
  /**
   * A heartbeat and back: true when the hub has surely read all that was pushed before, and none of it on
   * a join that it had lost.
   */
  confirm(timeoutMs: number): Promise<boolean>;
  /** Takes a new connection and joins. */
  attach(socket: PhoenixSocket): void;
  /** Joins anew on the connection there is, at once: the old join is closed by the server. */
  rejoin(): void;
  /** The connection is gone. */
  detach(): void;
  handle(frame: Frame): void;
  /** Leaves for good. */
  leave(): void;
}

const JOIN_TIMEOUT_MS = 10_000;
/** A join that held for so long was a good one: the next failure starts with the shortest delay. */
const STABLE_MS = 60_000;
const REJOIN = { minMs: 1000, maxMs: 60_000, jitter: 0.5 };

const Reply = v.object({
  status: v.picklist(["ok", "error"]),
  response: v.optional(v.unknown()),
});
const Reason = v.object({ reason: v.string() });

/** The way a topic stands: `waiting` is between a failed join or a crash and the next join. */
type State =
  | { readonly name: "detached" }
  | { readonly name: "joining"; readonly joinRef: string; readonly cancel: Cancel }
  | { readonly name: "joined"; readonly joinRef: string; readonly sinceMs: number }
  | { readonly name: "waiting"; readonly cancel: Cancel };

export function createChannel(options: ChannelOptions): Channel {
  const { topic, clock, log } = options;
  const backoff = createBackoff(REJOIN, options.random);
  let socket: PhoenixSocket | undefined;
  let state: State = { name: "detached" };

  const guarded = (task: () => void): void => {
    try {
      task();
    } catch (error) {
      log.error(`${topic}: ${messageOf(error)}`);
    }
  };

  /** Every change of state goes through here, so that no timer and no loss is forgotten. */
  const become = (next: State): void => {
    const previous = state;
    state = next;
    if (previous.name === "joining" || previous.name === "waiting") previous.cancel();
    if (previous.name === "joined") guarded(() => options.onLost?.());
  };

  const join = (): void => {
    const current = socket;
    if (current === undefined) return;
    const joinRef = current.nextRef();
    const cancel = clock.after(JOIN_TIMEOUT_MS, () =>
      joinLater(`no answer to the join in ${JOIN_TIMEOUT_MS / 1000} s`),
    );
    become({ name: "joining", joinRef, cancel });
    guarded(() => {
      current.send({ joinRef, ref: joinRef, topic, event: "phx_join", payload: options.joinPayload() });
    });
  };

  const forgiveIfStable = (): void => {
    if (state.name === "joined" && clock.monotonic() - state.sinceMs >= STABLE_MS) backoff.reset();
  };

  const joinLater = (reason: string): void => {
    forgiveIfStable();
    const delayMs = backoff.next();
    log.warn(`${topic}: ${reason}; joining again`, { in_s: Math.round(delayMs / 100) / 10 });
    become({ name: "waiting", cancel: clock.after(delayMs, join) });
  };

  const handleReply = (frame: Frame): void => {
    const reply = v.safeParse(Reply, frame.payload);
    if (!reply.success) {
      log.warn(`${topic}: ignored a reply that is neither ok nor error`);
      return;
    }
    const { status, response } = reply.output;
    const reason = v.safeParse(Reason, response);
    if (state.name === "joining" && frame.ref === state.joinRef) {
      if (status === "error") {
        joinLater(`the hub refused the join: ${reason.success ? reason.output.reason : "no reason given"}`);
        return;
      }
      become({ name: "joined", joinRef: state.joinRef, sinceMs: clock.monotonic() });
      guarded(() => options.onJoined(response));
    } else if (state.name === "joined" && reason.success && reason.output.reason === "unmatched topic") {
      joinLater("the hub does not know this join any more"); // seen when its channel process has gone
    }
  };

  return {
    topic,
    get joined() {
      return state.name === "joined";
    },
    push(event, payload) {
      if (socket === undefined || state.name !== "joined") return false;
      const frame = { joinRef: state.joinRef, ref: socket.nextRef(), topic, event, payload };
      return socket.send(frame, options.maxUnsentBytes);
    },
    async confirm(timeoutMs) {
      const join = state;
      if (socket === undefined || join.name !== "joined") return false;
      return (await socket.confirm(timeoutMs)) && state === join;
    },
    attach(next) {
      socket = next;
      join();
    },
    rejoin: join,
    detach() {
      forgiveIfStable();
      socket = undefined;
      become({ name: "detached" });
    },
    handle(frame) {
      if (state.name !== "joining" && state.name !== "joined") return;
      if (frame.event === "phx_reply") {
        handleReply(frame);
        return;
      }
      // Broadcasts carry no join_ref (seen); another join's messages are not ours any more.
      if (frame.joinRef !== null && frame.joinRef !== state.joinRef) return;
      switch (frame.event) {
        case "phx_error":
        case "phx_err": // the seed page's spelling
          joinLater("the hub's channel crashed");
          break;
        case "phx_close":
          joinLater("the hub closed the channel");
          break;
        default:
          guarded(() => options.onMessage(frame.event, frame.payload));
      }
    },
    leave() {
      if (socket !== undefined && (state.name === "joined" || state.name === "joining")) {
        socket.send({
          joinRef: state.joinRef,
          ref: socket.nextRef(),
          topic,
          event: "phx_leave",
          payload: {},
        });
      }
      socket = undefined;
      become({ name: "detached" });
    },
  };
}
