/**
 * What a board reports of a hub with a wrong certificate or chain: the same words on both routes, with Node's
 * TLS and with stunnel.
 */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, it } from "node:test";
import { createSecureContext, createServer, type Server } from "node:tls";
import { connectFailure } from "../../src/hub/connect-error.ts";
import { openWebSocket, HandshakeRefused, type HandshakeRequest } from "../../src/hub/handshake.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { inTime } from "../eventually.ts";
import { type Authority, createAuthority, type Issued } from "../identity/authority.ts";
import { missing, output } from "../identity/openssl.ts";

const DAY_MS = 86_400_000;
const keyPem = ({ key }: Issued): string => key.export({ format: "pem", type: "pkcs8" }).toString();

/** A server's certificate with the chain that it sends, and its key, both PEM. */
interface Shown {
  readonly cert: string;
  readonly key: string;
  readonly oldTls?: boolean;
}

/** A server that answers every request once TLS succeeds. */
interface Running {
  readonly port: number;
  stop(): Promise<void>;
}

let folder: string;
let root: Authority;
let device: Issued;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "hublink-tls-"));
  root = await createAuthority("CN=Hub CA");
  device = await root.issue({ subject: "CN=board-1" });
});
after(async () => rm(folder, { recursive: true }));

const servers: Readonly<Record<string, (shown: Shown) => Promise<Running>>> = {
  async Node({ cert, key, oldTls = false }) {
    const versions = oldTls ? ({ minVersion: "TLSv1", maxVersion: "TLSv1.1" } as const) : {};
    const server: Server = createServer(
      { cert, key, ...versions, ...(oldTls && { ciphers: "DEFAULT@SECLEVEL=0" }) },
      (socket) => {
        socket.on("error", () => socket.destroy()); // the client leaves as soon as it knows
        socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
      },
    );
    server.on("tlsClientError", () => undefined); // the tests look at the client's end
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return {
      port: (server.address() as AddressInfo).port,
      stop: async () => {
        server.close();
        await Promise.resolve();
      },
    };
  },
  async OpenSSL({ cert, key, oldTls = false }) {
    const [certFile, keyFile] = [join(folder, "server.pem"), join(folder, "server.key")];
    await writeFile(certFile, cert);
    await writeFile(keyFile, key);
    const old = oldTls ? ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"] : [];
    const files = ["-cert", certFile, "-cert_chain", certFile, "-key", keyFile];
    const child: ChildProcess = spawn(
      "openssl",
      ["s_server", "-accept", "127.0.0.1:0", "-www", ...files, ...old],
      {
        stdio: ["ignore", "pipe", "ignore"],
      },
    );
    const ended = once(child, "close");
    assert.ok(child.stdout !== null);
    for await (const line of createInterface(child.stdout)) {
      const port = /^ACCEPT .*:(\d+)$/.exec(line)?.[1];
      if (port === undefined) continue;
      child.stdout.resume();
      return {
        port: Number(port),
        async stop() {
          child.kill("SIGKILL");
          await inTime(ended, "the end of openssl");
        },
      };
    }
    throw new Error("openssl s_server did not start");
  },
};

const routes: Readonly<Record<string, () => HandshakeRequest["tls"]>> = {
  direct: () => ({
    kind: "direct",
    secureContext: createSecureContext({
      ca: root.pem,
      cert: device.pem,
      key: keyPem(device),
      minVersion: "TLSv1.2",
    }),
  }),
  helper: () => ({
    kind: "helper",
    ca: [root.pem],
    cert: device.pem,
    key: { kind: "pem", pem: keyPem(device) },
  }),
};

const cases: Readonly<Record<string, { readonly shown: () => Promise<Shown>; readonly expected: RegExp }>> = {
  "is good": {
    shown: async () => shownOf(await root.issue({ subject: "CN=localhost", dnsName: "localhost" })),
    expected: /^taken$/,
  },
  "sends its chain in the wrong order": {
    async shown() {
      const [middle, own] = await underTwo();
      return { cert: `${own.pem}${root.pem}${middle.pem}`, key: keyPem(own) };
    },
    expected: /^taken$/,
  },
  "leaves out an intermediate certificate": {
    shown: async () => shownOf((await underTwo())[1]),
    expected:
      /^hub_untrusted: .*not signed by a CA this board trusts; check hub\.ca_file, and that the hub sends its intermediate/,
  },
  "has a certificate of another CA": {
    async shown() {
      const stranger = await createAuthority("CN=Another CA");
      return shownOf(await stranger.issue({ subject: "CN=localhost", dnsName: "localhost" }));
    },
    expected: /^hub_untrusted: .*not signed by a CA this board trusts; check hub\.ca_file/,
  },
  "has a certificate for another name": {
    shown: async () => shownOf(await root.issue({ subject: "CN=other.test", dnsName: "other.test" })),
    expected: /^hub_untrusted: .*is for another name; check hub\.url or hub\.server_name/,
  },
  "has a certificate that has expired": {
    shown: async () =>
      shownOf(
        await root.issue({
          subject: "CN=localhost",
          dnsName: "localhost",
          notBefore: new Date(Date.now() - 20 * DAY_MS),
          notAfter: new Date(Date.now() - 10 * DAY_MS),
        }),
      ),
    expected: /^hub_untrusted: .*certificate has expired, or the board's clock is ahead/,
  },
  "has a certificate that is not yet valid": {
    shown: async () =>
      shownOf(
        await root.issue({
          subject: "CN=localhost",
          dnsName: "localhost",
          notBefore: new Date(Date.now() + 10 * DAY_MS),
          notAfter: new Date(Date.now() + 20 * DAY_MS),
        }),
      ),
    expected: /^hub_untrusted: .*certificate is not yet valid, or the board's clock is behind/,
  },
  "has a self-signed certificate": {
    shown: selfSigned,
    expected: /^hub_untrusted: .*certificate is self-signed/,
  },
  "speaks TLS 1.1 at most": {
    shown: async () => ({
      ...shownOf(await root.issue({ subject: "CN=localhost", dnsName: "localhost" })),
      oldTls: true,
    }),
    expected: /^hub_unreachable: .*only TLS older than 1\.2/,
  },
};

for (const [name, start] of Object.entries(servers)) {
  for (const [route, tls] of Object.entries(routes)) {
    const skip = missing(
      ...(name === "OpenSSL" ? ["openssl"] : []),
      ...(route === "helper" ? ["stunnel"] : []),
    );
    describe(`a hub of ${name}, by the ${route} route,`, { skip }, () => {
      for (const [what, { shown, expected }] of Object.entries(cases)) {
        it(`that ${what}`, async () => {
          const server = await start(await shown());
          try {
            assert.match(await attempt(server.port, tls()), expected);
          } finally {
            await server.stop();
          }
        });
      }
    });
  }
}

/** The result of one attempt: the code, and the words of the status. */
async function attempt(port: number, tls: HandshakeRequest["tls"]): Promise<string> {
  const request = {
    url: new URL(`wss://localhost:${port}/`),
    headers: {},
    tls,
    compress: false,
    timeoutMs: 60_000,
  };
  try {
    await openWebSocket(request, systemClock, new AbortController().signal);
    return "opened";
  } catch (error) {
    if (error instanceof HandshakeRefused && error.status === 200) return "taken"; // TLS was good: it got an answer
    const { code, message } = connectFailure(error, { clientCertificate: true });
    return `${code}: ${message}`;
  }
}

function shownOf(issued: Issued): Shown {
  return { cert: issued.pem, key: keyPem(issued) };
}

async function underTwo(): Promise<[Authority, Issued]> {
  const middle = await root.subordinate("CN=Middle CA");
  return [middle, await middle.issue({ subject: "CN=localhost", dnsName: "localhost" })];
}

async function selfSigned(): Promise<Shown> {
  const [cert, key] = [join(folder, "self.pem"), join(folder, "self.key")];
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"];
  const names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
  await output("openssl", "req", "-x509", ...kind, ...names, "-keyout", key, "-out", cert);
  return { cert: await readFile(cert, "utf8"), key: await readFile(key, "utf8") };
}
