/**
 * TLS by stunnel, for a key in a chip or token that Node.js can't use. Key, PIN and configuration reach the child
 * on inherited descriptors: arguments and environment can be read by others in /proc, files by name. Its log
 * holds its whole configuration when that is wrong, the PIN too, so only phrases that are known leave it.
 */
import type { ChildProcess } from "node:child_process";
import { closeSync } from "node:fs";
import { isIP } from "node:net";
import { Duplex } from "node:stream";
import type { HelperKey } from "../identity/identity.ts";
import { tokenProblem } from "../identity/token-problem.ts";
import { isRunning, signalGroup, spawnGroup } from "../platform/child.ts";
import { Failure, messageOf, systemCode } from "../platform/failure.ts";
import { openMemoryFile } from "../platform/memory-file.ts";
import type { Proxy } from "../platform/proxy.ts";

/** TLS by a stunnel child, for a key that this process can't read. */
export interface HelperTls {
  readonly kind: "helper";
  /** The client certificate with its issuers, PEM. */
  readonly cert: string;
  readonly key: HelperKey;
  /** The CAs to trust, PEM. */
  readonly ca: readonly string[];
  /** SNI and the name the certificate must carry, when that is not the host of the connection. */
  readonly servername?: string;
}

/** One connection's child. */
export interface TlsHelper {
  /** The plain side. Destroying it ends the child; when the child ends without a connection, it fails. */
  readonly stream: Duplex;
  /** This end's IP address, once connected. */
  readonly localAddress: () => string | undefined;
}

/** The child's descriptors after standard error, each a nameless file in memory. */
const FD = { config: 3, ca: 4, cert: 5, key: 6, opensslConfig: 7 };
/** Its log of one connection is far smaller. */
const MAX_LOG_LENGTH = 64 * 1024;

/**
 * Connects to a host with TLS in a stunnel child, one for each connection. It always verifies the host's
 * certificate.
 * @param host a name or an IP address, IPv6 without brackets
 * @param proxy the way to the host, if there is one
 * @throws the file system's error
 */
export function startTlsHelper(host: string, port: number, tls: HelperTls, proxy?: Proxy): TlsHelper {
  const { key } = tls;
  const child = spawnStunnel(key, [
    stunnelConfig(host, port, tls, proxy),
    tls.ca.join("\n"),
    tls.cert,
    key.kind === "pkcs11" ? "" : key.pem,
    providerConfig(key),
  ]);
  // When no file descriptor is free, Node makes no pipes, and the child's end says so.
  const [stdin, stdout, stderr] = child.stdio;
  const stream = new Duplex({
    allowHalfOpen: false,
    read: () => void stdout?.resume(),
    // Errors are left to the child's end, which says more than a broken pipe.
    write: (chunk: Buffer, _encoding, done) => void stdin?.write(chunk, () => done()),
    final: (done) => void stdin?.end(() => done()),
    destroy(error, done) {
      try {
        if (isRunning(child)) signalGroup(child);
        done(error);
      } catch (refused) {
        done(error ?? (refused as Error)); // EPERM, for a stunnel that changed its user
      }
    },
  });
  let log = "";
  let heard = false;
  let failure: Error | undefined;
  stdout?.on("data", (chunk: Buffer) => {
    heard = true;
    if (!stream.push(chunk)) stdout.pause();
  });
  stdout?.once("end", () => heard && stream.push(null)); // before the child ends, which waits for our side
  stderr?.on("data", (chunk: Buffer) => {
    log = `${log}${chunk.toString("latin1")}`.slice(-MAX_LOG_LENGTH);
  });
  stdin?.on("error", () => undefined); // as above
  child.once("error", (error) => (failure = error)); // it could not be started; "close" follows
  child.once("close", () => {
    if (!heard) stream.destroy(explainHelper(log, key, failure, proxy));
  });
  return { stream, localAddress: () => /connected remote server from (\S+):\d+$/m.exec(log)?.[1] };
}

function spawnStunnel(key: HelperKey, contents: readonly string[]): ChildProcess {
  const files: number[] = [];
  try {
    for (const content of contents) files.push(openMemoryFile(content));
    // A group of its own has no terminal, on which it might ask for a PIN.
    return spawnGroup("stunnel", ["-fd", String(FD.config)], {
      stdio: ["pipe", "pipe", "pipe", ...files],
      env: { ...process.env, ...environmentOf(key) },
    });
  } finally {
    for (const file of files) closeSync(file);
  }
}

/** stunnel(8). Engine lines must come before the others; the service is implied (inetd mode). */
function stunnelConfig(
  host: string,
  port: number,
  { key, servername = host }: HelperTls,
  proxy: Proxy | undefined,
): string {
  const lines = [
    "foreground = yes",
    "syslog = no",
    "debug = 5",
    ...(key.kind === "pkcs11"
      ? [
          "engine = pkcs11",
          `engineCtrl = MODULE_PATH:${key.module}`,
          ...(key.pin === undefined ? [] : [`engineCtrl = PIN:${key.pin.text}`]),
        ]
      : []),
    "client = yes",
    ...connectLines(host, port, proxy),
    ...(isIP(servername) === 0
      ? [`sni = ${servername}`, `checkHost = ${servername}`]
      : [`checkIP = ${servername}`]),
    "verifyChain = yes",
    `CAfile = /dev/fd/${FD.ca}`,
    "sslVersionMin = TLSv1.2",
    "socket = r:SO_KEEPALIVE=1",
    "socket = r:TCP_NODELAY=1",
    `cert = /dev/fd/${FD.cert}`,
    ...(key.kind === "pkcs11" ? ["engineId = pkcs11", `key = ${key.uri}`] : [`key = /dev/fd/${FD.key}`]),
  ];
  return `${lines.join("\n")}\n`;
}

/** stunnel takes IPv6 addresses without brackets, a proxy (RFC 9110 §7.2) with them. */
function connectLines(host: string, port: number, proxy: Proxy | undefined): string[] {
  if (proxy === undefined) return [`connect = ${host}:${port}`];
  const { credentials } = proxy;
  return [
    `connect = ${proxy.host}:${proxy.port}`,
    "protocol = connect",
    `protocolHost = ${isIP(host) === 6 ? `[${host}]` : host}:${port}`,
    ...(credentials === undefined
      ? []
      : [`protocolUsername = ${credentials.user}`, `protocolPassword = ${credentials.password}`]),
  ];
}

/** OpenSSL's configuration: for a TPM the provider that understands its keys, empty for other keys. */
function providerConfig(key: HelperKey): string {
  if (key.kind !== "tpm2") return "";
  return [
    "openssl_conf = init",
    "[init]",
    "providers = providers",
    "[providers]",
    "default = on",
    "tpm2 = on",
    "[on]",
    "activate = 1",
    "",
  ].join("\n");
}

function environmentOf(key: HelperKey): Readonly<Record<string, string>> {
  if (key.kind !== "tpm2") return {};
  return { OPENSSL_CONF: `/dev/fd/${FD.opensslConfig}`, TPM2OPENSSL_TCTI: key.tcti };
}

/** A connection that stunnel could not make. */
export class TlsHelperFailure extends Failure {
  /** The code that Node has for the same error, so that both routes are explained alike. */
  readonly nodeCode: string | undefined;

  constructor(message: string, nodeCode?: string) {
    super("hub_unreachable", message);
    this.name = "TlsHelperFailure";
    this.nodeCode = nodeCode;
  }
}

/** Phrases of OpenSSL, libc and stunnel, and Node's code for the same error; the first that matches counts. */
const CODES: readonly (readonly [RegExp, string])[] = [
  [/Subject checks failed|hostname mismatch|IP address mismatch/i, "ERR_TLS_CERT_ALTNAME_INVALID"],
  [/certificate has expired/, "CERT_HAS_EXPIRED"],
  [/certificate is not yet valid/, "CERT_NOT_YET_VALID"],
  [/self[- ]signed certificate in certificate chain/, "SELF_SIGNED_CERT_IN_CHAIN"],
  [/self[- ]signed certificate/, "DEPTH_ZERO_SELF_SIGNED_CERT"],
  [/unable to verify the first certificate/, "UNABLE_TO_VERIFY_LEAF_SIGNATURE"],
  [/unable to get local issuer certificate/, "UNABLE_TO_GET_ISSUER_CERT_LOCALLY"],
  [/unable to get issuer certificate/, "UNABLE_TO_GET_ISSUER_CERT"],
  [/Connection refused/, "ECONNREFUSED"],
  [/No route to host/, "EHOSTUNREACH"],
  [/Network is unreachable/, "ENETUNREACH"],
  [/TIMEOUTconnect exceeded|Connection timed out/, "ETIMEDOUT"],
  [/EAI_AGAIN|Temporary failure in name resolution/, "EAI_AGAIN"],
  [/Error resolving|Cannot resolve|EAI_NONAME|EAI_NODATA/, "ENOTFOUND"],
  [/Connection reset by peer/, "ECONNRESET"],
];

/**
 * Why there is no connection.
 * @param log all that the helper wrote
 * @param startError why the helper could not be started, if so
 */
function explainHelper(log: string, key: HelperKey, startError: Error | undefined, proxy?: Proxy): Error {
  if (systemCode(startError) === "ENOENT") {
    return new Failure(
      "tls_helper_failed",
      "stunnel is not installed; it does TLS for keys that stay in a chip",
    );
  }
  if (startError !== undefined) return new Failure("tls_helper_failed", `stunnel: ${messageOf(startError)}`);
  const problem = key.kind === "pem" ? undefined : tokenProblem(key, log);
  if (problem !== undefined) return problem;
  if (proxy !== undefined) {
    const unreached =
      /connect_blocking: (?:(?!connect_blocking).)*(Connection refused|TIMEOUTconnect exceeded|No route to host)/.test(
        log,
      );
    if (unreached)
      return new Failure("proxy_failed", `the proxy ${proxy.name} can't be reached; check hub.proxy`);
    if (log.includes("CONNECT request rejected"))
      return new Failure(
        "proxy_failed",
        `the proxy ${proxy.name} refuses to connect to the hub; check hub.proxy`,
      );
  }
  const code = CODES.find(([pattern]) => pattern.test(log))?.[1];
  if (code !== undefined) return new TlsHelperFailure(`stunnel: ${code}`, code);
  // An alert of the hub, or another error of TLS: OpenSSL's errors hold nothing of the configuration.
  const tls =
    /SSL_(?:connect|read): (?:(?!SSL_(?:connect|read): |error:).)*error:[0-9A-F]+:SSL routines:[^:\n]*:(.+)$/m.exec(
      log,
    )?.[1];
  if (tls !== undefined) return new TlsHelperFailure(`stunnel: ${tls}`);
  return /Configuration failed|Invalid configuration/.test(log)
    ? new Failure(
        "config",
        "stunnel does not take its configuration; is it 5.60 or later, with OpenSSL's engines?",
      )
    : new TlsHelperFailure("stunnel: the connection ended before the hub answered", "ECONNRESET");
}
