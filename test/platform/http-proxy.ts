/** An HTTP proxy on loopback, for tests. */
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { inTime } from "../eventually.ts";

export interface HttpProxyOptions {
  /** Base64 in the form of Basic. When given, clients must send it. */
  readonly credentials?: string;
  /** The status of every answer; with 0 it never answers. */
  readonly status?: number;
  /** Ports to connect to in place of those that clients ask for, such as 443. */
  readonly ports?: ReadonlyMap<number, number>;
}

/** An HTTP proxy that knows CONNECT and connects to loopback for every name. */
export interface HttpProxy {
  readonly port: number;
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  /** The `HOST:PORT`s that clients asked for, oldest first. */
  readonly asked: readonly string[];
  /** Connections of clients right now. */
  readonly connections: number;
  /** Breaks all connections off, and accepts new ones. */
  cut(): void;
  stop(): Promise<void>;
}

export async function startHttpProxy(options: HttpProxyOptions = {}): Promise<HttpProxy> {
  const asked: string[] = [];
  const clients = new Set<Duplex>();
  const server = createServer((_request, response) => response.writeHead(405).end());
  server.on("connection", (socket: Socket) => {
    clients.add(socket);
    socket.on("error", () => socket.destroy());
    socket.once("end", () => socket.destroy());
    socket.once("close", () => clients.delete(socket));
  });
  server.on("connect", (request: IncomingMessage, client: Duplex, head: Buffer) => {
    asked.push(request.url ?? "");
    const { status, credentials } = options;
    const sent = request.headers["proxy-authorization"];
    if (status === 0) {
      client.resume(); // to notice its end
      return;
    }
    if (status !== undefined) client.end(`HTTP/1.1 ${status} No\r\n\r\n`);
    else if (credentials !== undefined && sent?.replace(/^basic /i, "") !== credentials)
      client.end("HTTP/1.1 407 Who\r\n\r\n");
    else {
      const port = Number(/:(\d+)$/.exec(request.url ?? "")?.[1]);
      join(client, head, options.ports?.get(port) ?? port);
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const cut = (): void => {
    for (const client of clients) client.destroy();
  };
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    asked,
    get connections() {
      return clients.size;
    },
    cut,
    async stop() {
      cut();
      server.close();
      await inTime(once(server, "close"), "the proxy closes");
    },
  };
}

function join(client: Duplex, head: Buffer, port: number): void {
  const target = connect(port, "127.0.0.1", () => {
    client.write("HTTP/1.1 200 Connected\r\n\r\n");
    target.write(head);
    client.pipe(target).pipe(client);
  });
  target.on("error", () => client.end("HTTP/1.1 502 Gone\r\n\r\n"));
  target.once("close", () => client.destroy());
  client.once("close", () => target.destroy());
}
