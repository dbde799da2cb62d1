import { chmod, chown, lstat, mkdir, readFile, unlink } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import * as v from "valibot";
import type { Clock } from "../platform/clock.ts";
import { Failure, fileFailure, messageOf, systemCode } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { parseJson, splitLines } from "../platform/text.ts";
import {
  CONTROL_API,
  ControlError,
  type ControlEvent,
  errorCode,
  type FromAgent,
  FromApplication,
  Hello,
  HELLO_ID,
  MAX_LINE_BYTES,
  type Question,
  type Request,
  SubscribeParams,
} from "./messages.ts";
import { type AskOptions, type ControllerAnswer, createQuestions, type Questions } from "./questions.ts";

/**
 * What each method does; for the codes of what they throw see {@link errorCode}.
 * @param gone aborted when whoever asked has gone: for what is of use to nobody else
 */
export type ControlMethods = Readonly<Record<string, (params: unknown, gone: AbortSignal) => unknown>>;

export interface ControlServerOptions {
  readonly path: string;
  /** Permission bits of the socket. */
  readonly mode: number;
  /** Name of the group that owns it; empty for the agent's own. */
  readonly group: string;
  readonly agentVersion: string;
  readonly methods: ControlMethods;
  readonly clock: Clock;
  readonly log: Log;
}

/** What the agent may ask the application that is the controller. */
export type ControllerMethod = "update_available" | "reboot_request" | "identify";

export interface ControlServer {
  /**
   * Asks the controller, and waits for its answer.
   * @throws the signal's reason
   */
  ask(method: ControllerMethod, params: unknown, options: AskOptions): Promise<ControllerAnswer>;
  /** Tells those who subscribed. */
  publish(event: ControlEvent, payload: unknown): void;
  stop(): Promise<void>;
}

const MAX_CONNECTIONS = 32;
/**
 * A peer that leaves more than this unread misses events, which are a commentary and no record, and is
 * not listened to until it has read its answers.
 */
const MAX_UNREAD_BYTES = 256 * 1024;

interface Peer {
  readonly socket: Socket;
  hello: Hello | undefined;
  subscriptions: ReadonlySet<string>;
  readonly questions: Questions;
  readonly gone: AbortController;
}

/**
 * Listens on the control socket.
 * @throws Failure when another agent listens there, or the path or group can't be used
 */
export async function startControlServer(options: ControlServerOptions): Promise<ControlServer> {
  const { clock, log } = options;
  const peers = new Set<Peer>();

  const controller = (): Peer | undefined => [...peers].find(({ hello }) => hello?.role === "controller");

  const send = (peer: Pick<Peer, "socket">, message: FromAgent | Question): void => {
    if (!peer.socket.writable) return;
    peer.socket.write(`${JSON.stringify(message)}\n`);
    if (peer.socket.writableLength > MAX_UNREAD_BYTES) peer.socket.pause();
  };

  const refuse = (peer: Peer, id: string, code: string, message: string): void =>
    send(peer, { type: "response", id, error: { code, message } });

  const greet = (peer: Peer, line: unknown): void => {
    const hello = v.safeParse(Hello, line);
    let refusal: [code: string, message: string] | undefined;
    if (!hello.success) {
      refusal = ["hello_expected", "the first line must be a hello with name, api and a role known here"];
    } else if (hello.output.api !== CONTROL_API) {
      refusal = ["api_mismatch", `this agent speaks api ${CONTROL_API}, not ${hello.output.api}`];
    } else if (hello.output.role === "controller" && controller() !== undefined) {
      refusal = ["controller_taken", "another connection is already the controller"];
    } else {
      peer.hello = hello.output;
      peer.subscriptions = new Set(hello.output.subscribe);
      send(peer, {
        type: "welcome",
        agent_version: options.agentVersion,
        api: CONTROL_API,
        role: hello.output.role,
        update_tool: "fwup",
      });
      log.debug("an application connected", { name: hello.output.name, role: hello.output.role });
      return;
    }
    refuse(peer, HELLO_ID, ...refusal);
    peer.socket.destroySoon();
  };

  const answer = async (peer: Peer, request: Request): Promise<unknown> => {
    if (request.method === "subscribe") {
      const params = v.safeParse(SubscribeParams, request.params);
      if (!params.success) throw new ControlError("unsupported", "subscribe needs {events: [name, …]}");
      peer.subscriptions = new Set(params.output.events);
      return {};
    }
    const method = Object.hasOwn(options.methods, request.method)
      ? options.methods[request.method]
      : undefined;
    if (method === undefined)
      throw new ControlError("unknown_method", `there is no method ${request.method}`);
    return await method(request.params, peer.gone.signal);
  };

  const receive = (peer: Peer, line: string): void => {
    if (!peer.socket.writable) return; // refused, with more lines in the same packet
    const parsed = parseJson(line);
    if (peer.hello === undefined) {
      greet(peer, parsed);
      return;
    }
    const message = v.safeParse(FromApplication, parsed);
    if (!message.success) {
      const from = peer.hello.name;
      log.warn("ignored a line of the control socket that is no request and no response", { from });
      return;
    }
    if (message.output.type === "response") {
      peer.questions.answer(message.output);
      return;
    }
    const { id, method } = message.output;
    answer(peer, message.output).then(
      (result) => send(peer, { type: "response", id, result }),
      (error: unknown) => {
        log.warn(`${method} asked over the control socket failed: ${messageOf(error)}`);
        refuse(peer, id, errorCode(error), messageOf(error));
      },
    );
  };

  const server = createServer((socket) => {
    const put = (question: Question): boolean => {
      if (socket.writableLength > MAX_UNREAD_BYTES) return false;
      send({ socket }, question);
      return true;
    };
    const questions = createQuestions(put, clock, log);
    const gone = new AbortController();
    const peer: Peer = { socket, hello: undefined, subscriptions: new Set(), questions, gone };
    peers.add(peer);
    socket.on("error", () => undefined); // the other end went away; "close" follows
    socket.once("close", () => {
      peers.delete(peer);
      questions.end();
      gone.abort(new Error("whoever asked has gone"));
    });
    socket.on("drain", () => socket.resume());
    socket.on(
      "data",
      splitLines(
        MAX_LINE_BYTES,
        (line) => receive(peer, line),
        () => socket.destroy(),
      ),
    );
  });
  server.maxConnections = MAX_CONNECTIONS;
  await listen(server, options);

  return {
    async ask(method, params, askOptions) {
      askOptions.signal.throwIfAborted();
      const application = controller();
      if (application === undefined) return { type: "no-controller" };
      return application.questions.ask(method, params, askOptions);
    },
    publish(event, payload) {
      for (const peer of peers) {
        if (!peer.subscriptions.has(event) || peer.socket.writableLength > MAX_UNREAD_BYTES) continue;
        send(peer, { type: "event", event, payload });
      }
    },
    async stop() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      // What was written is with the kernel already, but for peers that don't read: no waiting for them.
      for (const peer of peers) peer.socket.destroy();
      await closed;
    },
  };
}

async function listen(server: Server, options: ControlServerOptions): Promise<void> {
  const { path } = options;
  if (await answers(path)) {
    throw new Failure("unavailable", `another hublink already listens on ${path}; stop it first`);
  }
  try {
    await mkdir(dirname(path), { recursive: true });
    await removeStale(path);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      const umask = process.umask(0o177); // nobody else may connect before the mode is set
      server.listen(path, () => {
        server.off("error", reject);
        resolve();
      });
      process.umask(umask);
    });
    if (options.group !== "") await chown(path, process.getuid?.() ?? 0, await groupId(options.group));
    await chmod(path, options.mode);
  } catch (error) {
    server.close();
    throw error instanceof Failure ? error : fileFailure("control socket", path, error);
  }
}

/** Removes the socket file that a killed agent left; anything else there is not ours to remove. */
async function removeStale(path: string): Promise<void> {
  try {
    const stats = await lstat(path);
    if (!stats.isSocket()) {
      throw new Failure(
        "config",
        `state.control_socket ${path} is there and is no socket; name another path`,
      );
    }
    await unlink(path);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
  }
}

/** Whether somebody listens; a socket file left by a killed agent refuses. */
async function answers(path: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

async function groupId(name: string): Promise<number> {
  const groups = await readFile("/etc/group", "utf8");
  const entry = groups
    .split("\n")
    .map((line) => line.split(":"))
    .find(([group]) => group === name);
  const gid = Number(entry?.[2]);
  if (entry === undefined || !Number.isInteger(gid)) {
    throw new Failure("config", `state.control_group: there is no group ${name} in /etc/group`);
  }
  return gid;
}
