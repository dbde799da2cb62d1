/**
 * An HTTP server for the download tests. Each test lists its answers: a file, a part of it and then a fault,
 * or a status.
 */
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { inTime } from "../eventually.ts";

export type Answer = (response: ServerResponse, request: IncomingMessage) => void;

export interface FileServer {
  /** Such as `http://127.0.0.1:1234`. */
  readonly origin: string;
  /** The path and the headers of each request so far. */
  readonly requests: readonly { readonly path: string; readonly headers: IncomingHttpHeaders }[];
  /** How many connections are open. */
  readonly connections: number;
  close(): Promise<void>;
}

/** Starts a server on loopback. It gives its answers in their order, and the last one to all further requests. */
export async function serve(
  answers: readonly Answer[],
  tls?: { readonly cert: string; readonly key: string },
): Promise<FileServer> {
  const requests: { path: string; headers: IncomingHttpHeaders }[] = [];
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const answer = answers[requests.length] ?? answers.at(-1);
    requests.push({ path: request.url ?? "", headers: request.headers });
    answer?.(response, request);
  };
  const server = tls === undefined ? createServer(onRequest) : createTlsServer(tls, onRequest);
  server.keepAliveTimeout = 600_000; // a connection that the download leaves open must show
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    origin: tls === undefined ? `http://127.0.0.1:${port}` : `https://localhost:${port}`,
    requests,
    get connections() {
      return sockets.size;
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await inTime(closed, "the server closes");
    },
  };
}

export interface GivenFile {
  readonly etag?: string;
  /** After this number of bytes of the answer, `stop` happens; the rest is never sent. */
  readonly stopAfter?: number;
  readonly stop?: "reset" | "stall" | "end";
  /** Whether to honour ranges. Default: true. */
  readonly ranges?: boolean;
  readonly status?: number;
  /** Replace or add to the right headers; undefined leaves a header out. */
  readonly headers?: Readonly<Record<string, string | undefined>>;
}

/** Gives a file, or the range of it that the request asks for. */
export function give(file: Uint8Array, options: GivenFile = {}): Answer {
  const { etag = '"one"', stopAfter, stop = "reset", ranges = true } = options;
  return (response, request) => {
    const range = ranges ? /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") : null;
    const start = Number(range?.[1] ?? 0);
    const last = Number(range?.[2] || file.length - 1);
    const headers: Record<string, string | undefined> = {
      etag,
      "content-length": String(last + 1 - start),
      ...(range === null ? {} : { "content-range": `bytes ${start}-${last}/${file.length}` }),
      ...options.headers,
    };
    for (const [name, value] of Object.entries(headers)) {
      if (value !== undefined) response.setHeader(name, value);
    }
    response.writeHead(options.status ?? (range === null ? 200 : 206));
    if (stopAfter === undefined) {
      response.end(file.subarray(start, last + 1));
      return;
    }
    response.flushHeaders();
    response.write(file.subarray(start, Math.min(start + stopAfter, last + 1)), () => {
      if (stop === "end" && headers["content-length"] === undefined) response.end();
      else if (stop === "end") response.socket?.end();
      else if (stop === "reset") reset(response.socket);
    });
  };
}

function reset(socket: Socket | null): void {
  if (socket instanceof TLSSocket) socket.destroy();
  else socket?.resetAndDestroy();
}

/** An answer without a file. */
export function status(
  code: number,
  headers: Readonly<Record<string, string>> = {},
  body = "secret details",
): Answer {
  return (response) => response.writeHead(code, headers).end(body);
}
