import { Failure } from "../platform/failure.ts";

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
