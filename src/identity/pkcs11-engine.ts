/**
 * TLS with a key in a token by OpenSSL's PKCS#11 engine, in this process (`identity.tls = "engine"`). The PIN
 * goes through a file without a name: the engine would print a PIN that is in the URI when it fails.
 */
import { closeSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { createSecureContext, type SecureContext, type SecureContextOptions } from "node:tls";
import { Failure, messageOf } from "../platform/failure.ts";
import { openMemoryFile } from "../platform/memory-file.ts";
import type { Pkcs11Key } from "./identity.ts";
import { tokenProblem } from "./token-problem.ts";

/** Where distributions and Buildroot put OpenSSL 3's engines. */
const ENGINE_FOLDERS = ["/usr/lib/engines-3", ...libraryFolders().map((folder) => join(folder, "engines-3"))];

/**
 * A TLS context whose key stays in its token. The PIN's own file can't be named to the engine, which takes the
 * line break at its end for a part of the PIN.
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
  const path = ENGINE_FOLDERS.flatMap((folder) => filesIn(folder).map((file) => join(folder, file)));
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
