/**
 * The daemon's end of the control socket: greets applications, answers their requests, sends events to
 * subscribers, and asks the one application that is the controller. An application that never reads must not
 * cost memory: it misses events, and its requests wait until it has read its answers.
 */
import { createServer, type Socket } from "node:net";
import * as v from "valibot";
import type { Clock } from "../platform/clock.ts";
import { noteDefect } from "../platform/defects.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { LineSplitter, parseJson } from "../platform/text.ts";
import {
  CONTROL_API,
  type ControlEvent,
  ControlFailure,
  errorBody,
  type FromAgent,
  FromApplication,
  Hello,
  HELLO_ID,
  MAX_LINE_BYTES,
  type Question,
  type Request,
  SubscribeParams,
} from "./messages.ts";
import { type AskOptions, type ControllerAnswer, Questions } from "./questions.ts";
import { listenOn, type SocketFile } from "./socket-file.ts";

/** The methods that applications may call; what they throw is sent as {@link errorBody} says. */
export type ControlMethods = Readonly<Record<string, (params: unknown, caller: Caller) => unknown>>;

/** The connection that a request came on: the same value for all of its requests. */
export interface Caller {
  /** Aborted when the caller has gone: for work that is of use to nobody else. */
  readonly gone: AbortSignal;
  /**
   * Asks the application, and waits for its answer.
   * @throws the signal's reason
   */
  ask(method: CallerMethod, params: unknown, options: AskOptions): Promise<ControllerAnswer>;
}

/** The questions of the agent to the application that declared components. */
export type CallerMethod = "component_action" | "component_mode";

export interface ControlServerOptions extends SocketFile {
  readonly agentVersion: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** The questions of the agent to the application that is the controller. */
export type ControllerMethod = "update_available" | "reboot_request" | "identify";

const MAX_CONNECTIONS = 32;
/** A connection without a request and a subscription may be in use for this long. Commands ask within milliseconds. */
const IDLE_MS = 10_000;
/** A peer that leaves more than this unread misses events, and its requests wait. */
const MAX_UNREAD_BYTES = 256 * 1024;

/** An application's connection. */
interface Peer {
  readonly socket: Socket;
  hello: Hello | undefined;
  subscriptions: ReadonlySet<string>;
  /** Whether it has sent a request. */
  asked: boolean;
  /** Monotonic. */
  readonly sinceMs: number;
  readonly questions: Questions;
  readonly caller: Caller;
}

/** The control socket. Before it is started, it has no subscriber and no controller. */
export class ControlServer {
  readonly #options: ControlServerOptions;
  readonly #peers = new Set<Peer>();
  readonly #server = createServer((socket) => this.#accept(socket));
  #methods: ControlMethods = {};

  constructor(options: ControlServerOptions) {
    this.#options = options;
  }

  /**
   * Listens on the control socket.
   * @throws Failure when another agent listens there, or the path or group can't be used
   */
  async start(methods: ControlMethods): Promise<void> {
    this.#methods = methods;
    await listenOn(this.#server, this.#options);
  }

  /**
   * Asks the controller, and waits for its answer.
   * @throws the signal's reason
   */
  async ask(method: ControllerMethod, params: unknown, options: AskOptions): Promise<ControllerAnswer> {
    options.signal.throwIfAborted();
    const controller = this.#controller();
    if (controller === undefined) return { type: "no-controller" };
    return controller.questions.ask(method, params, options);
  }

  /** Sends an event to its subscribers. */
  publish(event: ControlEvent, payload: unknown): void {
    for (const { socket, subscriptions } of this.#peers) {
      if (!subscriptions.has(event) || socket.writableLength > MAX_UNREAD_BYTES) continue;
      send(socket, { type: "event", event, payload });
    }
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    // The kernel has all that was written, except for peers that don't read; the agent does not wait for those.
    for (const { socket } of this.#peers) socket.destroy();
    await closed;
  }

  #controller(): Peer | undefined {
    return [...this.#peers].find(({ hello }) => hello?.role === "controller");
  }

  /** Ends the oldest connection that nobody uses, so that silent ones do not keep others out. */
  #makeRoom(): boolean {
    if (this.#peers.size < MAX_CONNECTIONS) return true;
    const nowMs = this.#options.clock.monotonic();
    const idle = [...this.#peers].find(
      ({ hello, subscriptions, asked, sinceMs }) =>
        hello === undefined ||
        (hello.role === "observer" && subscriptions.size === 0 && !asked && nowMs - sinceMs >= IDLE_MS),
    );
    if (idle === undefined) return false;
    this.#options.log.warn("ended an idle connection of the control socket: others want in", {
      from: idle.hello?.name,
    });
    this.#peers.delete(idle);
    idle.socket.destroy();
    return true;
  }

  #accept(socket: Socket): void {
    if (!this.#makeRoom()) {
      socket.destroy();
      return;
    }
    const put = (question: Question): boolean => {
      if (socket.writableLength > MAX_UNREAD_BYTES) return false;
      send(socket, question);
      return true;
    };
    const questions = new Questions(put, this.#options.clock, this.#options.log);
    const gone = new AbortController();
    const peer: Peer = {
      ...{ socket, hello: undefined, subscriptions: new Set(), asked: false },
      sinceMs: this.#options.clock.monotonic(),
      questions,
      caller: {
        gone: gone.signal,
        async ask(method, params, options) {
          options.signal.throwIfAborted();
          if (gone.signal.aborted) return { type: "no-controller" };
          return questions.ask(method, params, options);
        },
      },
    };
    this.#peers.add(peer);
    socket.on("error", () => undefined); // the other end went away; "close" follows
    socket.once("close", () => {
      this.#peers.delete(peer);
      questions.end();
      gone.abort(new Error("whoever asked has gone"));
    });
    socket.on("drain", () => socket.resume());
    const lines = new LineSplitter(
      MAX_LINE_BYTES,
      (line) => this.#receive(peer, line),
      () => socket.destroy(),
    );
    socket.on("data", (chunk: Buffer) => lines.push(chunk));
  }

  #receive(peer: Peer, line: string): void {
    const { socket } = peer;
    if (!socket.writable) return; // refused, with more lines in the same packet
    const parsed = parseJson(line);
    if (peer.hello === undefined) {
      this.#greet(peer, parsed);
      return;
    }
    const message = v.safeParse(FromApplication, parsed);
    if (!message.success) {
      const from = peer.hello.name;
      this.#options.log.warn("ignored a line of the control socket that is no request and no response", {
        from,
      });
      return;
    }
    if (message.output.type === "response") {
      peer.questions.answer(message.output);
      return;
    }
    const { id, method } = message.output;
    peer.asked = true;
    this.#answer(peer, message.output).then(
      (result) => send(socket, { type: "response", id, result }),
      (error: unknown) => {
        if (!peer.caller.gone.aborted) noteDefect(error, "control"); // else it was ended for that
        this.#options.log.warn(`${method} asked over the control socket failed: ${messageOf(error)}`);
        refuse(socket, id, error);
      },
    );
  }

  #greet(peer: Peer, line: unknown): void {
    const { agentVersion, log } = this.#options;
    const { success, output: hello } = v.safeParse(Hello, line);
    let refusal: Failure;
    if (!success) {
      const text = "the first line must be a hello with name, api and a role known here";
      refusal = new ControlFailure("hello_expected", "unsupported", text);
    } else if (hello.api !== CONTROL_API) {
      const text = `this agent speaks api ${CONTROL_API}, not ${hello.api}`;
      refusal = new ControlFailure("api_mismatch", "unsupported", text);
    } else if (hello.role === "controller" && this.#controller() !== undefined) {
      refusal = new Failure("controller_taken", "another connection is already the controller");
    } else {
      peer.hello = hello;
      peer.subscriptions = new Set(hello.subscribe);
      send(peer.socket, {
        type: "welcome",
        agent_version: agentVersion,
        api: CONTROL_API,
        role: hello.role,
        update_tool: "fwup",
      });
      log.debug("an application connected", { name: hello.name, role: hello.role });
      return;
    }
    refuse(peer.socket, HELLO_ID, refusal);
    peer.socket.destroySoon();
  }

  async #answer(peer: Peer, request: Request): Promise<unknown> {
    if (request.method === "subscribe") {
      const params = v.safeParse(SubscribeParams, request.params);
      if (!params.success) throw new Failure("unsupported", "subscribe needs {events: [name, …]}");
      peer.subscriptions = new Set(params.output.events);
      return {};
    }
    // Own properties only: every object is born with a `toString`.
    const method = Object.hasOwn(this.#methods, request.method) ? this.#methods[request.method] : undefined;
    if (method === undefined) throw new Failure("unknown_method", `there is no method ${request.method}`);
    return await method(request.params, peer.caller);
  }
}

function send(socket: Socket, message: FromAgent | Question): void {
  if (!socket.writable) return;
  socket.write(`${JSON.stringify(message)}\n`);
  if (socket.writableLength > MAX_UNREAD_BYTES) socket.pause();
}

function refuse(socket: Socket, id: string, error: unknown): void {
  send(socket, { type: "response", id, error: errorBody(error) });
}
