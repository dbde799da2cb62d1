/**
 * An application on the control socket, for tests of the agent: it sends requests and reads messages one by
 * one.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { inTime } from "../eventually.ts";

export type Message = Readonly<Record<string, unknown>>;

/** An application on the control socket, down to its bytes. */
export interface ControlPeer {
  readonly socket: Socket;
  send(...lines: readonly (object | string)[]): void;
  /** The next message that nobody has taken yet. @throws when the connection ends before it */
  readonly next: () => Promise<Message>;
  /** The answer to a request. */
  readonly request: (method: string, params?: unknown) => Promise<Message>;
  /** Resolves when the agent has ended the connection. */
  readonly closed: Promise<void>;
  /** Ends the connection from this side. */
  close(): Promise<void>;
}

/** Connects, and sends `hello` if it is given. */
export async function controlPeer(path: string, hello?: object): Promise<ControlPeer> {
  const socket = connect(path);
  const messages: Message[] = [];
  let wake = (): void => undefined;
  let text = "";
  let open = true;
  socket.setEncoding("utf8").on("data", (chunk: string) => {
    const lines = (text + chunk).split("\n");
    text = lines.pop() ?? "";
    messages.push(...lines.map((line) => JSON.parse(line) as Message));
    wake();
  });
  socket.on("error", () => undefined); // "close" follows
  const ended = new Promise<void>((resolve) => {
    socket.once("close", () => {
      open = false;
      wake();
      resolve();
    });
  });
  await inTime(once(socket, "connect"), "a connection to the control socket");
  let lastId = 0;
  const peer: ControlPeer = {
    socket,
    get closed() {
      return inTime(ended, "the end of the connection");
    },
    send(...lines) {
      socket.write(
        lines.map((line) => `${typeof line === "string" ? line : JSON.stringify(line)}\n`).join(""),
      );
    },
    async next() {
      for (;;) {
        const message = messages.shift();
        if (message !== undefined) return message;
        if (!open) throw new Error("the agent closed the control socket");
        await inTime(new Promise<void>((resolve) => (wake = resolve)), "a message of the agent");
      }
    },
    async request(method, params) {
      const id = String(++lastId);
      peer.send({ type: "request", id, method, ...(params !== undefined && { params }) });
      for (;;) {
        const message = await peer.next();
        if (message["type"] === "response" && message["id"] === id) return message;
      }
    },
    async close() {
      socket.destroy();
      await peer.closed;
    },
  };
  if (hello !== undefined) peer.send({ type: "hello", name: "test", api: 1, ...hello });
  return peer;
}
