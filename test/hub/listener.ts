/**
 * The HTTP server under the hub and its download server, with or without TLS. It knows the raw connection of
 * each request, so that faults can reset it.
 */
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer, type AddressInfo, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { inTime } from "../eventually.ts";
import type { FaultBox } from "./faults.ts";
import type { TlsFront } from "./tls-front.ts";

/** A port with HTTP on it, over TLS or not. */
export interface Listener {
  readonly port: number;
  /** Ends every connection. */
  stop(): Promise<void>;
}

export interface ListenerOptions {
  readonly port: number;
  readonly tls: TlsFront | undefined;
  readonly faults: FaultBox;
  /** @param raw the TCP connection, also when the request came over TLS */
  readonly request: (request: IncomingMessage, response: ServerResponse, raw: Socket | undefined) => void;
  readonly upgrade?: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
}

/** Listens on 127.0.0.1. @throws the system's error, such as `EADDRINUSE` */
export async function listen(options: ListenerOptions): Promise<Listener> {
  const raws = new Set<Socket>();
  const rawOf = new WeakMap<Duplex, Socket>();
  const http = createHttpServer((request, response) => {
    options.request(request, response, rawOf.get(request.socket));
  });
  if (options.upgrade !== undefined) http.on("upgrade", options.upgrade);
  // An unreadable request gets no answer, and the connection can't be used any more.
  http.on("clientError", (_error, socket) => socket.destroy());

  const accept = async (raw: Socket): Promise<void> => {
    options.faults.apply("connection", raw);
    if (raw.destroyed) return;
    const socket = options.tls === undefined ? raw : await options.tls.secure(raw);
    if (socket === undefined) return;
    rawOf.set(socket, raw);
    http.emit("connection", socket);
  };
  const server = createServer((raw) => {
    raws.add(raw);
    raw.once("close", () => raws.delete(raw));
    raw.on("error", () => raw.destroy()); // the peer reset it; its users see the close
    void accept(raw);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, "127.0.0.1", resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    async stop() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      http.close();
      for (const raw of raws) raw.destroy();
      await inTime(closed, "the hub closes");
    },
  };
}
