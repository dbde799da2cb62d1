/**
 * A key that stays in a PKCS#11 token, named by a URI (RFC 7512), its certificate, and TLS with it in this process
 * (`identity.tls = "engine"`). stunnel and OpenSSL find the key by the whole URI; pkcs11-tool, which reads the
 * certificate, knows only labels and slots. So token attributes are resolved to a slot here: passing over `serial` once
 * took the certificate of the first token, and the board called itself by another device's name.
 */
import { closeSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { createSecureContext, type SecureContext, type SecureContextOptions } from "node:tls";
import type { Config } from "../config/schema.ts";
import type { Clock } from "../platform/clock.ts";
import { runCommand } from "../platform/command.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import { openMemoryFile } from "../platform/memory-file.ts";
import { parseCertificates, readCertificateFile, type SourcedCertificate } from "./certificate.ts";
import type { CredentialSource, Pkcs11Key } from "./identity.ts";
import { Pin } from "./pin.ts";
import { tokenProblem } from "./token-problem.ts";

const TOOL_TIMEOUT_MS = 30_000;

/**
 * A key that stays in a PKCS#11 token. The token is not opened before it is used.
 * @throws Failure `config` when module or URI are of no use
 */
export function pkcs11Source(config: Config["identity"]["pkcs11"], clock: Clock): CredentialSource {
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
  const where = [...(await tokenArguments(module, uri, clock)), ...objectArguments(uri)];
  const { exitCode, stdoutBytes, stderr } = await runCommand(
    ["pkcs11-tool", "--module", module, ...where, "--read-object", "--type", "cert"],
    { clock, timeoutMs: TOOL_TIMEOUT_MS },
  );
  if (exitCode === 0 && stdoutBytes.length > 0)
    return { chain: parseCertificates(stdoutBytes, origin), origin };
  throw new Failure(
    "key_missing",
    `certificate ${origin}: ${toolError(stderr, "pkcs11-tool gave none")}; write it there with pkcs11-tool, or set identity.pkcs11.cert_file`,
  );
}

/**
 * The pkcs11-tool command with which a person makes the key that the URI names; it asks for the PIN.
 * @throws Failure when there is no such token
 */
export async function keygenCommand(
  { module, uri }: Config["identity"]["pkcs11"],
  clock: Clock,
): Promise<string> {
  const parsed = parsePkcs11Uri(uri);
  const where = [...(await tokenArguments(module, parsed, clock)), ...objectArguments(parsed)];
  return [
    ...["pkcs11-tool", "--module", module, ...where.map(quoted)],
    ...["--login", "--keypairgen", "--key-type", "EC:prime256v1"],
  ].join(" ");
}

/** As the shell wants it: options and numbers as they are. */
function quoted(word: string): string {
  return /^(--[a-z-]+|(0x)?[0-9a-f]+)$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function objectArguments({ id, object }: Pkcs11Uri): string[] {
  return [
    ...(id === undefined ? [] : ["--id", id.toString("hex")]),
    ...(object === undefined ? [] : ["--label", object]),
  ];
}

/** A token's attributes in RFC 7512, and what pkcs11-tool's list of slots calls them. */
const TOKEN_ATTRIBUTES: ReadonlyMap<string, string> = new Map([
  ["token", "token label"],
  ["manufacturer", "token manufacturer"],
  ["model", "token model"],
  ["serial", "serial num"],
]);
/** Attributes of the key in its token. */
const OBJECT_ATTRIBUTES: ReadonlySet<string> = new Set(["id", "object", "type"]);

/**
 * How pkcs11-tool is pointed at the token of a URI; nothing for a URI that names no token.
 * @throws Failure when no token, or several, have the attributes, or when they can't be looked up
 */
async function tokenArguments(
  module: string,
  { path, token }: Pkcs11Uri,
  clock: Clock,
): Promise<readonly string[]> {
  const unknown = [...token.keys()].filter((name) => !TOKEN_ATTRIBUTES.has(name));
  if (unknown.length > 0) {
    throw new Failure(
      "config",
      `identity.pkcs11.uri: pkcs11-tool can't find the token by ${unknown.join(" and ")}; name it by token, serial, manufacturer or model`,
    );
  }
  const label = token.get("token");
  if (token.size === 0) return [];
  if (token.size === 1 && label !== undefined) return ["--token-label", label];
  const command = ["pkcs11-tool", "--module", module, "--list-token-slots"];
  const { exitCode, stdout, stderr } = await runCommand(command, { clock, timeoutMs: TOOL_TIMEOUT_MS });
  if (exitCode !== 0)
    throw new Failure("token_unusable", `${path}: ${toolError(stderr, "pkcs11-tool lists no tokens")}`);
  const [slot, ...more] = slotsWith(token, stdout);
  if (slot === undefined || more.length > 0) {
    throw new Failure(
      "token_unusable",
      `${path}: ${slot === undefined ? "there is no such token" : "several tokens fit"}; pkcs11-tool --list-token-slots shows label and serial number of each`,
    );
  }
  return ["--slot", slot];
}

/** The ids of the slots, in pkcs11-tool's list, whose tokens have all these attributes. */
function slotsWith(attributes: ReadonlyMap<string, string>, list: string): string[] {
  const slots = [...list.matchAll(/^Slot \d+ \((0x[0-9a-f]+)\).*\n((?: .*\n)*)/gm)];
  const matching = slots.filter(([, , lines = ""]) => {
    const facts = new Map(
      lines.split("\n").map((line) => {
        const [name = "", ...value] = line.split(":");
        return [name.trim(), value.join(":").trim()];
      }),
    );
    return [...attributes].every(
      ([name, value]) => facts.get(TOKEN_ATTRIBUTES.get(name) ?? "") === value.trim(),
    );
  });
  return matching.map(([, slot = ""]) => slot);
}

function toolError(stderr: string, otherwise: string): string {
  return /^error: .*$/m.exec(stderr)?.[0] ?? otherwise;
}

/** Path attributes of a PKCS#11 URI (RFC 7512), decoded. */
interface Pkcs11Uri {
  /** Those that choose the token, by name. */
  readonly token: ReadonlyMap<string, string>;
  readonly object: string | undefined;
  readonly id: Buffer | undefined;
  /** As it was given, without its query. */
  readonly path: string;
}

/**
 * Reads `pkcs11:token=agent;id=%01`.
 * @throws Failure `config` when it is not such a URI, names no object, or carries a PIN
 */
function parsePkcs11Uri(uri: string): Pkcs11Uri {
  const wrong = (why: string): Failure => new Failure("config", `identity.pkcs11.uri ${why}`);
  // Only characters that RFC 7512 allows: others could end a line of a configuration made from it.
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
  const ofToken = [...attributes].filter(([name]) => !OBJECT_ATTRIBUTES.has(name));
  return {
    token: new Map(ofToken.map(([name, value]) => [name, value.toString()])),
    object: attributes.get("object")?.toString(),
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

/** Where distributions and Buildroot put OpenSSL 3's engines. */
function engineFolders(): string[] {
  return ["/usr/lib/engines-3", ...libraryFolders().map((folder) => join(folder, "engines-3"))];
}

/**
 * A TLS context whose key stays in its token, by OpenSSL's PKCS#11 engine. The PIN goes through a file without a
 * name: the engine would print a PIN that is in the URI when it fails, and would take the line break at the end of
 * the PIN's own file for a part of the PIN.
 * @throws Failure that names key, module or PIN file
 */
export function engineContext(key: Pkcs11Key, options: SecureContextOptions): SecureContext {
  process.env["PKCS11_MODULE_PATH"] = key.module; // libp11 reads it only from here
  const pin = key.pin && openMemoryFile(key.pin.text);
  const source = pin === undefined ? "" : `?pin-source=file:/dev/fd/${pin}`;
  try {
    return createSecureContext({
      ...options,
      privateKeyEngine: enginePath(),
      privateKeyIdentifier: `${key.uri}${source}`,
    });
  } catch (error) {
    throw explain(key, error);
  } finally {
    if (pin !== undefined) closeSync(pin);
  }
}

function explain(key: Pkcs11Key, error: unknown): Failure {
  const text = messageOf(error);
  const unloadable = text.includes("could not load the shared library");
  const fallback = `${key.origin}: this Node can't use OpenSSL's PKCS#11 engine (${text}): it is a static one, or libp11 is missing; set identity.tls to "helper"`;
  return (
    (unloadable ? undefined : tokenProblem(key, text)) ??
    new Failure("token_unusable", fallback, { cause: error })
  );
}

function enginePath(): string {
  const path = engineFolders().flatMap((folder) => filesIn(folder).map((file) => join(folder, file)));
  return path.find((file) => file.endsWith("/pkcs11.so")) ?? "pkcs11";
}

/** Debian has one for each architecture. */
function libraryFolders(): string[] {
  return filesIn("/usr/lib")
    .filter((name) => name.includes("-linux-"))
    .map((name) => join("/usr/lib", name));
}

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // there is no such folder
  }
}
