import type { Clock } from "../platform/clock.ts";
import { runCommand } from "../platform/command.ts";
import { Failure } from "../platform/failure.ts";
import { parseCertificates, readCertificateFile, type SourcedCertificate } from "./certificate.ts";
import type { CredentialSource } from "./identity.ts";
import { Pin } from "./pin.ts";

/** `[identity.pkcs11]` */
export interface Pkcs11Config {
  readonly module: string;
  readonly uri: string;
  /** Empty: the token asks for no PIN. */
  readonly pinFile: string;
  /** Empty: the certificate is in the token, under the key's id or label. */
  readonly certFile: string;
}

const TOOL_TIMEOUT_MS = 30_000;

/**
 * A key that stays in a PKCS#11 token. The token is not opened before it is used.
 * @throws Failure `config` when module or URI are of no use
 */
export function pkcs11Source(config: Pkcs11Config, clock: Clock): CredentialSource {
  const { module, pinFile, certFile } = config;
  // It becomes a value in stunnel's and OpenSSL's configurations, which are lines of text.
  if (!/^\/[\x21-\x7e]+$/.test(module)) {
    throw new Failure("config", "identity.pkcs11.module is not the full path of a library, without blanks");
  }
  const uri = parsePkcs11Uri(config.uri);
  return {
    name: uri.path,
    files: [certFile, pinFile].filter((path) => path !== ""),
    certificate: async () =>
      certFile === "" ? certificateInToken(module, uri, clock) : readCertificateFile(certFile),
    key: async () => ({
      kind: "pkcs11",
      origin: uri.path,
      module,
      uri: uri.path,
      pin: pinFile === "" ? undefined : await Pin.read(pinFile, `${module} ${uri.path}`),
    }),
  };
}

/** Certificates are public objects: OpenSC's tool reads them without the PIN. */
async function certificateInToken(module: string, uri: Pkcs11Uri, clock: Clock): Promise<SourcedCertificate> {
  const origin = `${uri.path} in the token`;
  const { exitCode, stdoutBytes, stderr } = await runCommand(
    ["pkcs11-tool", "--module", module, ...selection(uri), "--read-object", "--type", "cert"],
    { clock, timeoutMs: TOOL_TIMEOUT_MS },
  );
  if (exitCode === 0 && stdoutBytes.length > 0)
    return { chain: parseCertificates(stdoutBytes, origin), origin };
  const reason = stderr.match(/^error: .*$/m)?.[0] ?? "pkcs11-tool gave none";
  throw new Failure(
    "no_input",
    `certificate ${origin}: ${reason}; write it there with pkcs11-tool, or set identity.pkcs11.cert_file`,
  );
}

function selection({ token, id, object }: Pkcs11Uri): string[] {
  return [
    ...(token === undefined ? [] : ["--token-label", token]),
    ...(id === undefined ? [] : ["--id", id.toString("hex")]),
    ...(object === undefined ? [] : ["--label", object]),
  ];
}

/** Path attributes of a PKCS#11 URI (RFC 7512), decoded: `id` as bytes, the others as text. */
export interface Pkcs11Uri {
  readonly token: string | undefined;
  readonly serial: string | undefined;
  readonly object: string | undefined;
  readonly id: Buffer | undefined;
  /** As it was given, without its query. */
  readonly path: string;
}

/**
 * Reads `pkcs11:token=agent;id=%01`.
 * @throws Failure `config` when it is none, names no object, or carries a PIN
 */
export function parsePkcs11Uri(uri: string): Pkcs11Uri {
  const wrong = (why: string): Failure => new Failure("config", `identity.pkcs11.uri ${why}`);
  // Of RFC 7512's characters only: nothing that could end a line of a configuration made from it.
  const [, path, query = ""] = /^pkcs11:([\w.~!$'()*+,:@[\]&=;%/-]*)(?:\?(.*))?$/s.exec(uri) ?? [];
  if (path === undefined) throw wrong('is no PKCS#11 URI; write it as "pkcs11:token=agent;id=%01"');
  if (/pin-(value|source)=/i.test(query) || /pin-(value|source)=/i.test(path)) {
    throw wrong("holds a PIN or its source; name a file with the PIN in identity.pkcs11.pin_file");
  }
  if (query !== "")
    throw wrong("has a query (after ?), which is not used; the library is identity.pkcs11.module");
  const attributes = new Map<string, Buffer>();
  for (const part of path.split(";").filter((text) => text !== "")) {
    const [name = "", value] = part.split(/=(.*)/s);
    if (value === undefined || attributes.has(name))
      throw wrong(`is wrong at "${name}"; expected name=value, each once`);
    attributes.set(name, percentDecoded(value));
  }
  if (!attributes.has("id") && !attributes.has("object")) {
    throw wrong("names no key; add its id (id=%01) or label (object=...)");
  }
  const text = (name: string): string | undefined => attributes.get(name)?.toString();
  return {
    token: text("token"),
    serial: text("serial"),
    object: text("object"),
    id: attributes.get("id"),
    path: `pkcs11:${path}`,
  };
}

function percentDecoded(text: string): Buffer {
  const latin1 = text.replace(/%([0-9A-Fa-f]{2})/g, (_match, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(latin1, "latin1");
}
