/**
 * The environment does not change whom the agent trusts: a hub or a download server with a stranger's certificate
 * gets no request, whatever variables of Node and OpenSSL are set.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import { after, afterEach, before, describe, it } from "node:test";
import { openHttp } from "../../src/download/http-file.ts";
import { Geo } from "../../src/extensions/geo.ts";
import { openWebSocket } from "../../src/hub/handshake.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { silentLog } from "../../src/platform/log.ts";
import { chooseProxy, type ProxyChoice } from "../../src/platform/proxy.ts";
import { setUpBoard, type TestBoard } from "../agent/board.ts";
import { inTime, PATIENCE_MS } from "../eventually.ts";
import { type Authority, createAuthority } from "../hub/certificates.ts";
import { type HttpProxy, startHttpProxy } from "../platform/http-proxy.ts";
import { end, hublink, type Program, start } from "./program.ts";

const VARIABLE = "NODE_TLS_REJECT_UNAUTHORIZED";

let stranger: Authority;
let server: Server;
let port: number;
let proxy: HttpProxy;
before(async () => {
  stranger = await createAuthority("a stranger");
  server = createServer(await stranger.server(["localhost"]));
  server.on("request", (_request, response: ServerResponse) => response.end("52.5,13.4"));
  server.on("upgrade", (_request, socket) => socket.destroy());
  await once(server.listen(0, "127.0.0.1"), "listening");
  ({ port } = server.address() as AddressInfo);
  proxy = await startHttpProxy();
});
after(async () => {
  server.closeAllConnections();
  server.close();
  await proxy.stop();
});

/** What the server sees first of the next client. */
async function seen(): Promise<"a request" | "a client that refuses it"> {
  const over = new AbortController();
  const { signal } = over;
  const request = Promise.race([once(server, "request", { signal }), once(server, "upgrade", { signal })]);
  const refusal = once(server, "tlsClientError", { signal });
  try {
    return await inTime(
      Promise.race([
        request.then(() => "a request" as const),
        refusal.then(() => "a client that refuses it" as const),
      ]),
      "a client",
    );
  } finally {
    refusal.catch(() => undefined);
    request.catch(() => undefined);
    over.abort();
  }
}

describe(`with ${VARIABLE}=0 in this process, a stranger's certificate is refused`, () => {
  const given = process.env[VARIABLE];
  let ca: string;
  before(async () => {
    ({ cert: ca } = await createAuthority("hub CA"));
    process.env[VARIABLE] = "0";
  });
  after(() => {
    if (given === undefined) Reflect.deleteProperty(process.env, VARIABLE);
    else process.env[VARIABLE] = given;
  });

  const untrusted = { code: /^(UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT_LOCALLY)$/ };
  for (const way of ["directly", "through a proxy"]) {
    const proxyFor: ProxyChoice = (url) => chooseProxy(way === "directly" ? "" : proxy.url, {})(url);
    it(`of a hub, ${way}`, async () => {
      await assert.rejects(
        openWebSocket(
          {
            url: new URL(`wss://localhost:${port}/`),
            headers: {},
            tls: { kind: "direct", secureContext: createSecureContext({ ca }) },
            proxyFor,
            compress: false,
            timeoutMs: PATIENCE_MS,
          },
          systemClock,
          AbortSignal.timeout(PATIENCE_MS),
        ),
        untrusted,
      );
    });

    it(`of a download server, ${way}`, async () => {
      const http = await openHttp({
        trusted: async () => Promise.resolve([ca]),
        clock: systemClock,
        proxyFor,
      });
      const url = new URL(`https://localhost:${port}/1.fw`);
      try {
        await assert.rejects(http.get(url, {}, AbortSignal.timeout(PATIENCE_MS)), untrusted);
      } finally {
        await http.close();
      }
    });
  }

  it("of a geo service, which answers boards that trust its CA", async () => {
    const reported = async (trusted: readonly string[]): Promise<unknown> => {
      const sent: unknown[] = [];
      const geo = new Geo(`https://localhost:${port}/`, systemClock, async () => Promise.resolve(trusted));
      const running = geo.start({
        push: (_event, payload) => sent.push(payload) > 0,
        clock: systemClock,
        log: silentLog,
        version: "0.0.1",
        signal: AbortSignal.timeout(PATIENCE_MS),
        fail: (error) => assert.fail(String(error)),
      });
      await running.onMessage("location:request", {});
      return sent[0];
    };
    assert.deepEqual(await reported([ca]), {
      error_code: "unavailable",
      error_description: "unable to verify the first certificate",
    });
    assert.deepEqual(await reported([stranger.cert]), { source: "geoip", latitude: 52.5, longitude: 13.4 });
  });
});

describe("the environment of the bundle", () => {
  let board: TestBoard;
  let config: string;
  let strangerFile: string;
  let program: Program | undefined;
  before(async () => {
    board = await setUpBoard();
    strangerFile = join(board.dir, "stranger.pem");
    await writeFile(strangerFile, stranger.cert);
    config = await board.writeConfig({
      hub: { url: `wss://localhost:${port}` },
      firmware: { public_keys: [board.signingKey.publicKeyBase64] },
    });
  });
  afterEach(async () => {
    await end(program);
    program = undefined;
  });
  after(async () => board.remove());

  const environments = {
    [`${VARIABLE}=0`]: () => ({ [VARIABLE]: "0" }),
    NODE_EXTRA_CA_CERTS: () => ({ NODE_EXTRA_CA_CERTS: strangerFile }),
    "SSL_CERT_FILE with NODE_OPTIONS": () => ({
      SSL_CERT_FILE: strangerFile,
      NODE_OPTIONS: "--use-openssl-ca",
    }),
  };
  for (const [name, env] of Object.entries(environments)) {
    it(`can't make it trust a hub: ${name}`, async () => {
      const first = seen();
      program = await start(["run", "--config", config], { env: env() });
      assert.equal(await first, "a client that refuses it");
      await program.logged(/not signed by a CA this board trusts; check hub\.ca_file/);
    });

    it(`can't make it trust a download server: ${name}`, async () => {
      const first = seen();
      const url = `https://localhost:${port}/1.fw`;
      program = await start(["apply", url, "--config", config], { env: env() });
      assert.equal(await first, "a client that refuses it");
    });
  }

  it(`is logged when ${VARIABLE} is 0, and Node does not say that nothing is verified`, async () => {
    program = await start(["run", "--config", config], { env: { [VARIABLE]: "0" } });
    await program.logged(/level=warn .*NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment is ignored/);
    await program.logged(/not signed by a CA this board trusts/);
    program.child.kill("SIGTERM");
    assert.doesNotMatch((await program.ended).stderr, /insecure/);
  });

  it("is shown by check, which connects as the daemon does", async () => {
    const { code, stdout } = await hublink(["check", "--connect", "--config", config], {
      env: { [VARIABLE]: "0" },
    });
    assert.notEqual(code, 0);
    assert.match(stdout, /NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment is ignored/);
    assert.match(stdout, /not signed by a CA this board\s+trusts/);
  });
});
