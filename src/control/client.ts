/**
 * The command line's end of the control socket. Every way in which the daemon may be absent, busy or another
 * program ends in a Failure or in `undefined`, within ten seconds: a command must not hang.
 */
import { connect, type Socket } from "node:net";
import * as v from "valibot";
import { systemClock, within } from "../platform/clock.ts";
import { Failure, messageOf, systemCode } from "../platform/failure.ts";
import { LineSplitter } from "../platform/text.ts";
import {
  CONTROL_API,
  type ControlEvent,
  failureOf,
  FromAgent,
  HELLO_ID,
  MAX_LINE_BYTES,
} from "./messages.ts";

export interface ControlClientOptions {
  readonly path: string;
  readonly subscribe?: readonly ControlEvent[];
  readonly onEvent?: (event: string, payload: unknown) => void;
}

/** Longer than a busy Pi Zero takes. */
const HELLO_TIMEOUT_MS = 10_000;

type Response = Extract<FromAgent, { type: "response" }>;

interface Waiting {
  readonly resolve: (response: Response) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Connects to the daemon.
 * @returns undefined when no daemon listens
 * @throws Failure when one is there but can't be talked to
 */
export async function connectToDaemon(options: ControlClientOptions): Promise<ControlClient | undefined> {
  const socket = await open(options.path);
  if (socket === undefined) return undefined;
  const client = new ControlClient(socket, options);
  await client.greet();
  return client;
}

/** A connection to the running daemon; made by {@link connectToDaemon}. */
export class ControlClient {
  readonly #socket: Socket;
  readonly #options: ControlClientOptions;
  readonly #waiting = new Map<string, Waiting>();
  #welcomed: (() => void) | undefined;
  #lastId = 0;

  constructor(socket: Socket, options: ControlClientOptions) {
    this.#socket = socket;
    this.#options = options;
    socket.on("error", () => undefined); // "close" follows
    socket.once("close", () => this.#end("the daemon closed the control socket"));
    const lines = new LineSplitter(
      MAX_LINE_BYTES,
      (line) => this.#receive(line),
      () => socket.destroy(),
    );
    socket.on("data", (chunk: Buffer) => lines.push(chunk));
  }

  /**
   * Says hello and waits for the welcome; closes the connection when there is none.
   * @throws Failure
   */
  async greet(): Promise<void> {
    const { subscribe = [], path } = this.#options;
    const hello = { type: "hello", name: "hublink", api: CONTROL_API, subscribe };
    const welcome = new Promise<"welcome">((resolve) => (this.#welcomed = () => resolve("welcome")));
    const greeted = Promise.race([welcome, this.#exchange(HELLO_ID, hello)]);
    try {
      if ((await within(systemClock, HELLO_TIMEOUT_MS, greeted, undefined)) === undefined) {
        throw new Failure("daemon_unreachable", `the daemon on ${path} does not answer; restart it`);
      }
    } catch (error) {
      this.#socket.destroy();
      throw error;
    }
    this.#waiting.delete(HELLO_ID);
  }

  /** @throws Failure with the daemon's words */
  async request(method: string, params?: unknown): Promise<unknown> {
    const id = String(++this.#lastId);
    return this.#exchange(id, { type: "request", id, method, params });
  }

  close(): void {
    this.#socket.destroySoon();
  }

  async #exchange(id: string, line: object): Promise<unknown> {
    const response = await new Promise<Response>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#socket.write(`${JSON.stringify(line)}\n`);
    });
    if (response.error !== undefined) throw failureOf(response.error);
    return response.result;
  }

  #receive(line: string): void {
    try {
      this.#handle(v.parse(FromAgent, JSON.parse(line)));
    } catch {
      this.#end(
        `another program than hublink answers on ${this.#options.path}; correct state.control_socket`,
      );
      this.#socket.destroy();
    }
  }

  #handle(message: FromAgent): void {
    if (message.type === "welcome") {
      this.#welcomed?.();
    } else if (message.type === "event") {
      this.#options.onEvent?.(message.event, message.payload);
    } else {
      this.#waiting.get(message.id)?.resolve(message);
      this.#waiting.delete(message.id);
    }
  }

  #end(problem: string): void {
    for (const { reject } of this.#waiting.values()) reject(new Failure("daemon_unreachable", problem));
    this.#waiting.clear();
  }
}

async function open(path: string): Promise<Socket | undefined> {
  return await new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once("connect", () => resolve(socket));
    socket.once("error", (error) => {
      const code = systemCode(error);
      if (code === "ENOENT" || code === "ECONNREFUSED" || code === "ENOTSOCK") resolve(undefined);
      else if (code === "EACCES") {
        reject(
          new Failure("permission", `control socket ${path}: permission denied; run as root or its group`),
        );
      } else reject(new Failure("daemon_unreachable", `control socket ${path}: ${messageOf(error)}`));
    });
  });
}
