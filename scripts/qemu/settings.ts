/** The configuration and other files that a scenario puts on a board's data partition. */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { stringify } from "smol-toml";
import type { CertificateFiles } from "../../test/hub/certificates.ts";
import type { HubOptions } from "../../test/hub/server.ts";

/** The differences between a scenario's board and the common one. */
export interface BoardOptions {
  /** Sections of config.toml; each replaces the common section of the same name. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Shared secrets that the hub knows. With them it accepts boards without a certificate. */
  readonly secrets?: HubOptions["secrets"];
  /** The age of the hub. */
  readonly api?: HubOptions["api"];
  /** The board gets no time from the host, and starts in 1970. */
  readonly withoutTime?: true;
  /** Shell commands that the board runs last in its boot, before the agent starts. */
  readonly startup?: string;
  /** More files for /data, readable by root alone: the path there, and the text. */
  readonly files?: Readonly<Record<string, string>>;
}

export interface Settings {
  readonly hubUrl: string;
  /** Answers with the seconds since 1970. */
  readonly timeUrl: string;
  readonly identifier: string;
  readonly certificates: CertificateFiles;
  /** The key that verifies firmware. */
  readonly publicKeyBase64: string;
}

/**
 * Writes the files of /data/etc, and the other files that a scenario puts on the data partition.
 * @param dir the folder here for files that do not exist yet
 * @returns the path on the data partition, and the file here
 */
export async function writeSettings(
  dir: string,
  { hubUrl, timeUrl, identifier, certificates, publicKeyBase64 }: Settings,
  options: BoardOptions,
): Promise<Record<string, string>> {
  const config = {
    hub: { url: hubUrl, ca_file: "/data/etc/ca.pem" },
    identity: { file: { cert_file: "/data/etc/cert.pem", key_file: "/data/etc/key.pem" } },
    firmware: { public_keys: [publicKeyBase64] },
    // Each version brings its own test.
    validation: { command: "/usr/sbin/is-good", deadline_s: 60 },
    ...options.config,
  };
  const texts = {
    "etc/config.toml": stringify(config),
    ...(options.withoutTime === undefined && { "etc/time-url": `${timeUrl}\n` }),
    ...(options.startup !== undefined && { "etc/startup": `${options.startup}\n` }),
    ...options.files,
  };
  const device = certificates.devices.get(identifier);
  const files: Record<string, string> = {
    "etc/ca.pem": certificates.caFile,
    "etc/cert.pem": device?.certFile ?? "",
    "etc/key.pem": device?.keyFile ?? "",
  };
  for (const [name, text] of Object.entries(texts)) {
    const path = join(dir, "data", name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text, { mode: 0o600 });
    files[name] = path;
  }
  return files;
}
