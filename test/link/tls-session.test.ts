/**
 * TLS sessions: the link resumes the last one to save a slow handshake, unless the server cannot resume it.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { createServer, type Server } from "node:https";
import { createServer as createTcpServer, type AddressInfo, type Server as NetServer } from "node:net";
import { after, before, describe, it } from "node:test";
import { createSecureContext, type SecureContext, TLSSocket, type SecureVersion } from "node:tls";
import { type WebSocket, WebSocketServer } from "ws";
import { openWebSocket } from "../../src/hub/handshake.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { inTime } from "../eventually.ts";
import { type Authority, createAuthority } from "../identity/authority.ts";

async function openTo(server: NetServer, secureContext: SecureContext): Promise<WebSocket> {
  const request = {
    url: new URL(`wss://localhost:${(server.address() as AddressInfo).port}/`),
    headers: {},
    tls: { kind: "direct", secureContext },
    compress: false,
    timeoutMs: 60_000,
  } as const;
  const { webSocket } = await openWebSocket(request, systemClock, new AbortController().signal);
  return webSocket;
}

for (const version of ["TLSv1.2", "TLSv1.3"] satisfies SecureVersion[]) {
  describe(`a hub that the board comes back to, ${version}`, () => {
    let root: Authority;
    let server: Server;
    let refusing = false;
    /** For each connection: `new` or `resumed`, and the device's name. */
    const seen: string[] = [];
    before(async () => {
      root = await createAuthority("CN=Hub CA");
      const own = await root.issue({ subject: "CN=localhost", dnsName: "localhost" });
      server = createServer({
        cert: own.pem,
        key: own.key.export({ format: "pem", type: "pkcs8" }),
        ca: root.pem,
        requestCert: true,
        rejectUnauthorized: true,
        minVersion: version,
        maxVersion: version,
      });
      server.on("secureConnection", (socket: TLSSocket) => {
        const name = String(socket.getPeerCertificate().subject.CN);
        seen.push(`${socket.isSessionReused() ? "resumed" : "new"} ${name}`);
      });
      const sockets = new WebSocketServer({ noServer: true });
      server.on("upgrade", (request, socket, head) => {
        if (refusing) socket.end("HTTP/1.1 503 Service Unavailable\r\n\r\n");
        else sockets.handleUpgrade(request, socket, head, (webSocket) => webSocket.close(1000));
      });
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
    });
    after(() => {
      server.closeAllConnections();
      server.close();
    });

    const contextOf = async (name: string): Promise<SecureContext> => {
      const device = await root.issue({ subject: `CN=${name}` });
      const key = device.key.export({ format: "pem", type: "pkcs8" });
      return createSecureContext({ ca: root.pem, cert: device.pem, key });
    };
    const connect = async (secureContext: SecureContext): Promise<string | undefined> => {
      const webSocket = await openTo(server, secureContext);
      webSocket.resume();
      await inTime(once(webSocket, "close"), "the server closes the WebSocket");
      return seen.at(-1);
    };

    it("is offered the last session, which stands for the same certificate", async () => {
      const context = await contextOf("board-1");
      assert.equal(await connect(context), "new board-1");
      assert.equal(await connect(context), "resumed board-1");
      assert.equal(await connect(context), "resumed board-1");
    });

    it("is offered no session after a failed attempt, or with another certificate", async () => {
      const context = await contextOf("board-1");
      assert.equal(await connect(context), "new board-1");
      refusing = true;
      await assert.rejects(connect(context), /503/);
      refusing = false;
      assert.equal(await connect(context), "new board-1");
      assert.equal(await connect(await contextOf("board-2")), "new board-2");
    });
  });
}

describe("a hub that breaks off when it is offered a session", () => {
  it("costs no attempt: the link tries at once without a session, and offers none from then on", async () => {
    const root = await createAuthority("CN=Hub CA");
    const own = await root.issue({ subject: "CN=localhost", dnsName: "localhost" });
    const seen: string[] = [];
    const failed: string[] = [];
    const context = createSecureContext({
      cert: own.pem,
      key: own.key.export({ format: "pem", type: "pkcs8" }),
      ca: root.pem,
      maxVersion: "TLSv1.2",
    });
    const http = createHttpServer();
    const sockets = new WebSocketServer({ server: http });
    sockets.on("connection", (webSocket) => webSocket.close(1000));
    // Unlike tls.createServer, this gives OpenSSL no session id context, without which it fails to resume
    // sessions with client certificates.
    const server = createTcpServer((raw) => {
      const socket = new TLSSocket(raw, { isServer: true, secureContext: context, requestCert: true });
      socket.on("error", (error: Error) => {
        failed.push(error.message);
        socket.destroy();
      });
      socket.once("secure", () => {
        seen.push(socket.isSessionReused() ? "resumed" : "new");
        http.emit("connection", socket);
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const device = await root.issue({ subject: "CN=board-1" });
    const key = device.key.export({ format: "pem", type: "pkcs8" });
    const secureContext = createSecureContext({ ca: root.pem, cert: device.pem, key });
    for (let times = 0; times < 3; times += 1) {
      const webSocket = await openTo(server, secureContext);
      webSocket.resume();
      await inTime(once(webSocket, "close"), "the server closes the WebSocket");
    }
    assert.deepEqual(seen, ["new", "new", "new"]);
    assert.equal(failed.length, 1, failed.join());
    server.close();
  });
});
