/**
 * TLS by stunnel, which the agent runs when a token or TPM holds the key: data passes, errors have the same
 * words as with Node's TLS, and no process, file or secret is left or seen.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import { type WebSocket, WebSocketServer } from "ws";
import { connectFailure } from "../../src/hub/connect-error.ts";
import { startTlsHelper, type HelperTls } from "../../src/hub/tls-helper.ts";
import { openWebSocket, type OpenedWebSocket } from "../../src/hub/handshake.ts";
import { pkcs11Source } from "../../src/identity/pkcs11.ts";
import { Failure } from "../../src/platform/failure.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { chooseProxy, type ProxyChoice } from "../../src/platform/proxy.ts";
import { eventually, inTime, PATIENCE_MS } from "../eventually.ts";
import { type Authority, createAuthority } from "../identity/authority.ts";
import { missing } from "../identity/openssl.ts";
import { startHttpProxy } from "../platform/http-proxy.ts";
import { createSoftToken, tokenMissing } from "../identity/soft-token.ts";

/** These are enough to show a leak; `HUBLINK_TEST_RECONNECTS` sets more. */
const RECONNECTS = Number(process.env["HUBLINK_TEST_RECONNECTS"] ?? 40);

let folder: string;
let root: Authority;
let server: Server;
let sockets: WebSocketServer;
let pemTls: HelperTls;
const opened: WebSocket[] = [];
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "hublink-helper-"));
  root = await createAuthority("CN=Hub CA");
  const own = await root.issue({ subject: "CN=localhost", dnsName: "localhost" });
  server = createServer({
    cert: own.pem,
    key: own.key.export({ format: "pem", type: "pkcs8" }),
    ca: root.pem,
    requestCert: true,
    rejectUnauthorized: true,
  });
  server.on("tlsClientError", () => undefined); // the tests look at the client's end
  sockets = new WebSocketServer({ server });
  sockets.on("connection", (socket) => {
    socket.on("message", (data: Buffer) => socket.send(data));
    socket.on("error", () => socket.terminate());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const device = await root.issue({ subject: "CN=board-1" });
  const pem = device.key.export({ format: "pem", type: "pkcs8" }).toString();
  pemTls = { kind: "helper", ca: [root.pem], cert: device.pem, key: { kind: "pem", pem } };
});
// A connection that a failing test leaves open would keep this process, and the whole run, from ending.
afterEach(() => {
  for (const webSocket of opened.splice(0)) webSocket.terminate();
});
after(async () => {
  sockets.close();
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true });
});

const open = async (
  tls: HelperTls,
  signal = new AbortController().signal,
  proxyFor: ProxyChoice = () => undefined,
): Promise<OpenedWebSocket> => {
  const { port } = server.address() as AddressInfo;
  const url = new URL(`wss://localhost:${port}/`);
  const connection = await openWebSocket(
    { url, headers: {}, tls, proxyFor, compress: false, timeoutMs: PATIENCE_MS },
    systemClock,
    signal,
  );
  opened.push(connection.webSocket);
  return connection;
};

/** Ids of this process's children that are stunnel, or about to be. */
async function helpers(): Promise<string[]> {
  const children = await readFile(`/proc/self/task/${process.pid}/children`, "utf8");
  const ids = children.split(" ").filter((id) => id !== "");
  const names = await Promise.all(
    ids.map(async (id) => readFile(`/proc/${id}/comm`, "utf8").catch(() => "")),
  );
  return ids.filter((_id, index) => names[index] === "stunnel\n" || names[index] === "node\n");
}

/** An ended child stays in the list until Node has noticed. */
async function untilNoHelper(): Promise<void> {
  await eventually(async () => (await helpers()).length === 0, "the end of stunnel");
}

describe("TLS by a helper", { skip: missing("stunnel") }, () => {
  it("carries a WebSocket in both directions, also large messages, and knows the board's address", async () => {
    const { webSocket, localAddress } = await open(pemTls);
    assert.equal(localAddress, "127.0.0.1");
    webSocket.resume();
    const message = Buffer.alloc(900_000, "a");
    webSocket.send(message);
    const [echo] = (await inTime(once(webSocket, "message"), "the echo")) as [Buffer];
    assert.ok(echo.equals(message));
    webSocket.close(1000, "bye");
    const [code] = (await inTime(once(webSocket, "close"), "the WebSocket closes")) as [number];
    assert.equal(code, 1000);
    await untilNoHelper();
  });

  it(`leaves no process, descriptor or file behind after ${RECONNECTS} connections`, async () => {
    const descriptors = async (): Promise<number> => (await readdir("/proc/self/fd")).length;
    const before = await descriptors();
    const memoryFiles = async (): Promise<string[]> =>
      (await readdir("/dev/shm")).filter((name) => name.startsWith(".hublink-"));
    const othersFiles = await memoryFiles();
    for (let times = 0; times < RECONNECTS; times += 1) {
      const { webSocket } = await open(pemTls);
      if (times % 2 === 0) webSocket.terminate();
      else webSocket.close(1000);
      webSocket.resume();
      await inTime(once(webSocket, "close"), `WebSocket ${times + 1} closes`);
    }
    await untilNoHelper();
    assert.ok((await descriptors()) <= before + 2, `${before} before, ${await descriptors()} after`);
    // Files of other processes have a name for a moment too.
    await eventually(
      async () => (await memoryFiles()).every((name) => othersFiles.includes(name)),
      "no file of ours in /dev/shm",
    );
  });

  it("goes through a proxy with a password, and reports the proxy's refusal", async () => {
    const proxy = await startHttpProxy({ credentials: Buffer.from("me:secret").toString("base64") });
    try {
      const through = async (login: string): Promise<OpenedWebSocket> => {
        const proxyFor = chooseProxy(proxy.url.replace("//", `//${login}@`), {});
        return await open(pemTls, undefined, proxyFor);
      };
      const { webSocket } = await through("me:secret");
      webSocket.terminate();
      assert.deepEqual(proxy.asked, [`localhost:${(server.address() as AddressInfo).port}`]);
      await assert.rejects(through("me:wrong"), /^Failure: the proxy 127\.0\.0\.1:\d+ refuses to connect/);
    } finally {
      await proxy.stop();
    }
    await untilNoHelper();
  });

  it("ends with an attempt that is given up", async () => {
    const abort = new AbortController();
    const attempt = open(pemTls, abort.signal);
    abort.abort(new Error("given up"));
    await assert.rejects(attempt, /given up/);
    await untilNoHelper();
  });

  it("reports that stunnel is not installed", async () => {
    const path = process.env["PATH"] ?? "";
    process.env["PATH"] = folder;
    try {
      const { stream } = startTlsHelper("localhost", 1, pemTls);
      const [error] = (await inTime(once(stream, "error"), "the failure to start")) as [Error];
      assert.ok(error instanceof Failure && error.kind === "unavailable");
      assert.match(error.message, /^stunnel is not installed/);
    } finally {
      process.env["PATH"] = path;
    }
  });

  it("reports that nothing listens, or that the name is unknown, in Node's words", async () => {
    const failure = async (host: string): Promise<string> => {
      const { stream } = startTlsHelper(host, 1, pemTls);
      const [error] = (await inTime(once(stream, "error"), `stunnel fails to reach ${host}`)) as [Error];
      return connectFailure(error, { clientCertificate: true }).message;
    };
    assert.match(await failure("127.0.0.1"), /nothing listens there; .*\(ECONNREFUSED\)/);
    assert.match(await failure("::1"), /\((ECONNREFUSED|ENETUNREACH|EADDRNOTAVAIL)\)/);
    assert.match(await failure("no-such-hub.invalid"), /\((ENOTFOUND|EAI_AGAIN)\)/);
  });
});

describe("TLS by a helper with a key in a token", { skip: tokenMissing }, () => {
  it("shows PIN and key neither in arguments nor in the environment", async () => {
    const token = await createSoftToken(join(folder, "token"));
    const source = pkcs11Source({ ...config(token), pinFile: token.pinFile }, systemClock);
    const key = await source.key();
    assert.ok(key.kind === "pkcs11");
    // A helper that could not connect would have ended before anybody looks at it.
    const cert = await root.certify(token.publicKey, "CN=board-1");
    const { webSocket } = await open({ ...pemTls, cert, key });
    const [id, ...others] = await helpers();
    assert.ok(id !== undefined && others.length === 0);
    const seen = await Promise.all(
      ["cmdline", "environ"].map(async (file) => readFile(`/proc/${id}/${file}`, "latin1")),
    );
    assert.ok(!seen.join().includes(token.pin));
    assert.ok(!seen.join().includes("PRIVATE KEY"));
    webSocket.terminate();
    await untilNoHelper();
  });

  it("tries a wrong PIN once, and not again until its file changes", async () => {
    const token = await createSoftToken(join(folder, "other-token"));
    const pinFile = join(folder, "wrong-pin");
    await writeFile(pinFile, "86420\n", { mode: 0o600 });
    const pinOf = async () => {
      const key = await pkcs11Source({ ...config(token), pinFile: pinFile }, systemClock).key();
      assert.ok(key.kind === "pkcs11" && key.pin !== undefined);
      return { key, pin: key.pin };
    };
    const { key, pin } = await pinOf();
    assert.equal(pin.refused, false);
    await assert.rejects(open({ ...pemTls, key }), (error: Error) => {
      assert.match(
        error.message,
        /pkcs11:token=agent;id=%01;type=private: the token refused the PIN in .*wrong-pin;/,
      );
      assert.ok(!error.message.includes("86420"));
      return true;
    });
    assert.equal(pin.refused, true);
    assert.equal((await pinOf()).pin.refused, true, "also when it is read again, as after SIGHUP");
    await writeFile(pinFile, "86421\n");
    assert.equal((await pinOf()).pin.refused, false);
  });
});

function config({ module, uri }: { readonly module: string; readonly uri: string }) {
  return { module, uri, certFile: join(folder, "none") };
}
