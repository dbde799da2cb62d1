import { connect, type Socket } from "node:net";
import * as v from "valibot";
import { systemClock, within } from "../platform/clock.ts";
import { Failure, messageOf, systemCode } from "../platform/failure.ts";
import { splitLines } from "../platform/text.ts";
import { CONTROL_API, type ControlEvent, failureCode, FromAgent, MAX_LINE_BYTES } from "./messages.ts";

/** A connection to the running daemon. */
export interface ControlClient {
  /** @throws Failure with the daemon's words */
  request(method: string, params?: unknown): Promise<unknown>;
  close(): void;
}

export interface ControlClientOptions {
  readonly path: string;
  readonly subscribe?: readonly ControlEvent[];
  readonly onEvent?: (event: string, payload: unknown) => void;
}

/** Longer than a busy Pi Zero takes. */
const HELLO_TIMEOUT_MS = 10_000;

type Response = Extract<FromAgent, { type: "response" }>;

/**
 * Connects to the daemon.
 * @returns undefined when no daemon listens
 * @throws Failure when one is there but can't be talked to
 */
export async function connectToDaemon(options: ControlClientOptions): Promise<ControlClient | undefined> {
  const socket = await open(options.path);
  if (socket === undefined) return undefined;
  const waiting = new Map<
    string,
    { resolve: (response: Response) => void; reject: (error: Error) => void }
  >();
  let lastId = 0;
  let welcomed: (() => void) | undefined;

  const end = (problem: string): void => {
    for (const { reject } of waiting.values()) reject(new Failure("unavailable", problem));
    waiting.clear();
  };
  const receive = (line: string): void => {
    const message = v.parse(FromAgent, JSON.parse(line));
    if (message.type === "welcome") welcomed?.();
    else if (message.type === "event") options.onEvent?.(message.event, message.payload);
    else {
      waiting.get(message.id)?.resolve(message);
      waiting.delete(message.id);
    }
  };
  socket.on("error", () => undefined); // "close" follows
  socket.once("close", () => end("the daemon closed the control socket"));
  socket.on(
    "data",
    splitLines(
      MAX_LINE_BYTES,
      (line) => {
        try {
          receive(line);
        } catch {
          end("what listens on the control socket is no hublink");
          socket.destroy();
        }
      },
      () => socket.destroy(),
    ),
  );

  const exchange = async (id: string, line: object): Promise<unknown> => {
    const response = await new Promise<Response>((resolve, reject) => {
      waiting.set(id, { resolve, reject });
      socket.write(`${JSON.stringify(line)}\n`);
    });
    if (response.error !== undefined) {
      const { code, message } = response.error;
      throw new Failure(failureCode(code), message);
    }
    return response.result;
  };

  const hello = { type: "hello", name: "hublink", api: CONTROL_API, subscribe: options.subscribe ?? [] };
  const welcome = new Promise<"welcome">((resolve) => (welcomed = () => resolve("welcome")));
  const greeted = Promise.race([welcome, exchange("hello", hello)]);
  try {
    if ((await within(systemClock, HELLO_TIMEOUT_MS, greeted, undefined)) === undefined) {
      throw new Failure("unavailable", `the daemon on ${options.path} does not answer; restart it`);
    }
  } catch (error) {
    socket.destroy();
    throw error;
  }
  waiting.delete("hello");

  return {
    async request(method, params) {
      const id = String(++lastId);
      return exchange(id, { type: "request", id, method, params });
    },
    close() {
      socket.destroySoon();
    },
  };
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
      } else reject(new Failure("unavailable", `control socket ${path}: ${messageOf(error)}`));
    });
  });
}
