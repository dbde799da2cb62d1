/** Programs that tests need, and certificates by the openssl program. */
import { execFile } from "node:child_process";
import { accessSync } from "node:fs";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import type { KeyObject } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { PATIENCE_MS } from "../eventually.ts";

const run = promisify(execFile);

/** For node:test's `skip`: the programs that the machine lacks; false when all are there. */
export function missing(...programs: readonly string[]): string | false {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  const absent = programs.filter((program) => !folders.some((folder) => exists(join(folder, program))));
  return absent.length > 0 && `needs ${absent.join(", ")}`;
}

function exists(path: string): boolean {
  try {
    accessSync(path);
    return true;
  } catch {
    return false; // not here
  }
}

/** Runs a program; gives what it prints. @throws when it fails */
export async function output(program: string, ...args: readonly string[]): Promise<string> {
  return (await run(program, [...args], { timeout: PATIENCE_MS })).stdout;
}

/**
 * Writes a certificate for a public key, as an authority does that never sees the private key.
 * @param authority path of the authority's certificate; its key is in the same folder (`NAME.key`)
 */
export async function certify(
  publicKey: KeyObject,
  commonName: string,
  authority: string,
  path: string,
): Promise<void> {
  const publicFile = `${path}.pub`;
  await writeFile(publicFile, publicKey.export({ format: "pem", type: "spki" }));
  const by = ["-CA", authority, "-CAkey", authority.replace(/\.pem$/, ".key"), "-days", "365"];
  await output(
    "openssl",
    "x509",
    "-new",
    "-force_pubkey",
    publicFile,
    "-subj",
    `/CN=${commonName}`,
    ...by,
    "-out",
    path,
  );
}
