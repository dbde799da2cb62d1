/**
 * Why a hub can't be reached, in the words of the status: each reason names its cause and the setting to
 * check.
 */
import assert from "node:assert/strict";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { createSecureContext } from "node:tls";
import { afterEach, before, beforeEach, describe, it } from "node:test";
import type { LinkOptions } from "../../src/hub/link.ts";
import type { HandshakeRequest } from "../../src/hub/handshake.ts";
import { connectFailure } from "../../src/hub/connect-error.ts";
import { inTime } from "../eventually.ts";
import { createAuthority, type Authority } from "../hub/certificates.ts";
import { refuseUpgrade, resetAtConnect } from "../hub/faults.ts";
import { startHub, type Hub, type HubOptions } from "../hub/server.ts";
import { createBench, refuse, type Bench, type TestLink } from "./bench.ts";

const DAY_MS = 86_400_000;

/** A certificate with its key, PEM. */
type Pair = Awaited<ReturnType<Authority["server"]>>;

describe("a hub that can't be reached", () => {
  let authority: Authority;
  let stranger: Authority;
  let bench: Bench;
  let hub: Hub | undefined;
  before(async () => {
    authority = await createAuthority("hub CA");
    stranger = await createAuthority("another CA");
  });
  beforeEach(() => {
    bench = createBench();
    hub = undefined;
  });
  afterEach(async () => {
    await bench.end();
    await hub?.stop();
  });

  /** Fails three times, each time with a new request. @returns the reason of the third failure */
  const reason = async (
    url: string,
    http: Partial<HandshakeRequest> = {},
    options: Partial<LinkOptions> = {},
  ): Promise<string> => {
    const link = bench.link(url, { http, ...options });
    link.start();
    for (let times = 1; times <= 3; times += 1) {
      await bench.disconnected(link, times);
      assert.equal(link.signed.length, times);
      assert.equal(bench.waitMs(link), 1000 * 2 ** (times - 1));
      if (times < 3) await bench.advance(bench.waitMs(link));
    }
    const { lastError } = link.status;
    assert(lastError !== undefined && !lastError.includes("\n"), lastError);
    await link.stop();
    return lastError;
  };
  const trusting = (credentials: Partial<Pair> = {}): Partial<HandshakeRequest> => ({
    tls: { kind: "direct", secureContext: createSecureContext({ ca: authority.cert, ...credentials }) },
  });
  const tlsHub = async (server: Pair, tls: Partial<HubOptions["tls"]> = {}): Promise<string> => {
    hub = await startHub({ clock: bench.clock, tls: { ...server, ca: authority.cert, ...tls } });
    return `${hub.url}/socket/websocket?vsn=2.0.0`;
  };

  it("has a certificate of a CA that is not trusted", async () => {
    const url = await tlsHub(await stranger.server(["localhost"]));
    assert.match(await reason(url, trusting()), /not signed by a CA this board trusts; check hub\.ca_file/);
  });

  it("has a certificate of a CA that is not trusted, and sends the CA's certificate too", async () => {
    const { cert, key } = await stranger.server(["localhost"]);
    const url = await tlsHub({ cert: cert + stranger.cert, key });
    assert.match(await reason(url, trusting()), /not signed by a CA this board trusts/);
  });

  it("has a certificate that has expired", async () => {
    const validity = {
      notBefore: new Date(Date.now() - 2 * DAY_MS),
      notAfter: new Date(Date.now() - DAY_MS),
    };
    const url = await tlsHub(await authority.server(["localhost"], validity));
    assert.match(await reason(url, trusting()), /certificate has expired, or the board's clock is ahead/);
  });

  describe("has a certificate that is not yet valid", () => {
    const tomorrow = {
      notBefore: new Date(Date.now() + DAY_MS),
      notAfter: new Date(Date.now() + 2 * DAY_MS),
    };
    const notYet = "(CERT_NOT_YET_VALID)";

    it("while the board's clock seems right", async () => {
      const url = await tlsHub(await authority.server(["localhost"], tomorrow));
      assert.equal(
        await reason(url, trusting()),
        `the hub's certificate is not yet valid, or the board's clock is behind ${notYet}`,
      );
    });

    it("while the board's clock is known to be wrong, and the status says so", async () => {
      const url = await tlsHub(await authority.server(["localhost"], tomorrow));
      const clockGuard = {
        doubt: "the board's clock says 1970",
        isGuess: false,
        fit: async () => Promise.resolve(false),
        noteHubTime: () => true,
      };
      assert.equal(
        await reason(url, trusting(), { clockGuard }),
        `the hub's certificate can't be judged: the board's clock says 1970; it is tried again when the clock is set ${notYet}`,
      );
    });
  });

  it("has a certificate for another name; with hub.server_name it is the right one", async () => {
    const url = await tlsHub(await authority.server(["hub.example.com"]));
    assert.match(await reason(url, trusting()), /for another name; check hub\.url or hub\.server_name/);
    const { tls } = trusting();
    assert(tls);
    const answer = await reason(url, { tls: { ...tls, servername: "hub.example.com" } });
    assert.match(answer, /^refused with/, "TLS succeeded");
  });

  it("refuses the board's certificate in the handshake, as NervesHub does", async () => {
    const url = await tlsHub(await authority.server(["localhost"]), { clientCertificates: "required" });
    const unknown = await stranger.device("board-1");
    assert.equal(
      await reason(url, trusting(unknown)),
      "the hub refused the TLS handshake, as it does to a certificate it does not know (TLS alert: handshake failure)",
    );
  });

  it("refuses the board's certificate after the handshake, as with TLS 1.3", async () => {
    const server = await bench.serve({
      tls: {
        ...(await authority.server(["localhost"])),
        ca: authority.cert,
        requestCert: true,
        rejectUnauthorized: true,
        minVersion: "TLSv1.3",
      },
    });
    assert.match(
      await reason(server.url, trusting(await stranger.device("board-1")), { clientCertificate: true }),
      /(refused this board's|a client) certificate/,
    );
  });

  it("does not speak TLS at all", async () => {
    const server = await bench.serve();
    const url = server.url.replace("ws://127.0.0.1", "wss://localhost");
    assert.match(await reason(url, trusting()), /does not speak TLS there; check hub\.url/);
  });

  it("does not know the credentials: 401, with the hub's explanation if it gives one", async () => {
    hub = await startHub({ clock: bench.clock, secrets: { key: { secret: "s" } } });
    const url = `${hub.url}/device-socket/websocket?vsn=2.0.0`;
    assert.equal(
      await reason(url),
      "refused with 401: no certificate pair or shared secrets connection settings were provided; check the identity, and that the hub knows this device",
    );
    assert.equal(
      await reason(url, { headers: { "x-nh-alg": "nonsense" } }),
      "refused with 401; check the identity, and that the hub knows this device",
    );
  });

  it("does not serve that path: 403", async () => {
    hub = await startHub({ clock: bench.clock });
    const url = `${hub.url}/device-socket/websocket?vsn=9.9.9`;
    assert.equal(await reason(url), "refused with 403; check the path of hub.url");
  });

  it("is not ready: 503", async () => {
    hub = await startHub({ clock: bench.clock });
    hub.faults.add(refuseUpgrade(503, { "nh-connection-error-reason": "no database" }));
    const url = `${hub.url}/device-socket/websocket?vsn=2.0.0`;
    assert.equal(await reason(url), "refused with 503: no database; the hub is not ready");
  });

  it("is something else, such as a hotel's login page", async () => {
    const server = await bench.serve({
      onUpgrade: (_request, socket) =>
        refuse(socket, 200, { "nh-connection-error-reason": "see https://x/?key=SECRET" }),
    });
    assert.equal(
      await reason(server.url),
      "refused with 200: see https://x/?…",
      "and the status shows no secret",
    );
  });

  it("is not listening", async () => {
    const server = await bench.serve();
    await server.stop();
    assert.equal(
      await reason(server.url),
      "nothing listens there; check the host and port of hub.url (ECONNREFUSED)",
    );
  });

  it("has a name that DNS does not know", async () => {
    assert.match(await reason("ws://no-such-hub.invalid/"), /\(ENOTFOUND\)$|\(EAI_AGAIN\)$/);
  });

  it("resets the connection", async () => {
    hub = await startHub({ clock: bench.clock });
    hub.faults.add(resetAtConnect());
    assert.equal(
      await reason(hub.url),
      "the connection was reset; check hub.url, and what stands between the board and the hub (ECONNRESET)",
    );
  });

  it("resets the connection of a board that shows it a certificate", () => {
    const error = Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" });
    assert.equal(
      connectFailure(error, { clientCertificate: true }).message,
      "the connection was reset, as some servers do to a client certificate they refuse (ECONNRESET)",
    );
  });

  it("speaks another protocol", async () => {
    const other = await listen((socket) => socket.end("SSH-2.0-OpenSSH_9.2\r\n"));
    assert.match(await reason(`ws://127.0.0.1:${other.port}/`), /Parse Error/);
    await other.stop();
  });

  describe("takes too long", () => {
    const gaveUp = async (link: TestLink): Promise<void> => {
      await bench.advance(29_999);
      assert.equal(link.status.connection, "connecting");
      await bench.advance(1);
      await bench.disconnected(link);
      assert.equal(link.status.lastError, "no answer within 30 s");
      assert.equal(bench.waitMs(link), 1000);
    };

    it("to answer the upgrade", async () => {
      const server = await bench.serve({ onUpgrade: () => true });
      const link = bench.link(server.url);
      link.start();
      await bench.until(() => server.requests.length === 1);
      await gaveUp(link);
    });

    it("to answer the TLS handshake", async () => {
      const mute = await listen((socket) => {
        socket.resume();
        bench.changed();
      });
      const link = bench.link(`wss://localhost:${mute.port}/`, { http: trusting() });
      link.start();
      await bench.until(() => mute.sockets.size === 1);
      await gaveUp(link);
      await mute.stop();
    });
  });
});

/** A TCP server that is not a hub. */
async function listen(
  onConnection: (socket: Socket) => void,
): Promise<{ readonly port: number; readonly sockets: ReadonlySet<Socket>; stop(): Promise<void> }> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy()); // clients of these tests cut lines
    onConnection(socket);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    async stop() {
      for (const socket of sockets) socket.destroy();
      await inTime(new Promise((resolve) => server.close(resolve)), "the server closes");
    },
  };
}
