/** Makes boards for tests: keys, certificates, firmware and configurations, in one folder. */
import { constants } from "node:fs";
import { copyFile, cp, readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  generateSigningKey,
  makeFirmware,
  makeOps,
  type FirmwareOptions,
  type MadeFirmware,
  type SigningKey,
} from "../fwup/archive.ts";
import type { Layout } from "../fwup/layout.ts";
import { realFwup, STAND_IN } from "../fwup/run.ts";
import { certificateFiles, writeCertificates, type CertificateFiles } from "../hub/certificates.ts";
import type { TlsOptions } from "../hub/tls-front.ts";

export const IDENTIFIER = "board-1";

/** The `[section]`s of a configuration, as TOML would give them. */
export type Tables = Readonly<Record<string, Readonly<Record<string, unknown>> | readonly object[]>>;

export interface BoardPlace {
  readonly hubUrl: string;
  readonly disk: string;
  readonly fwEnvConfig: string;
  readonly stateDir: string;
  readonly controlSocket: string;
  /** The shell's command that "reboots". */
  readonly rebootCommand: string;
}

const SMALL = 2 * 1024 * 1024;
/** Shares the bytes of both files where the file system can. */
const MODE = constants.COPYFILE_FICLONE;

/** Makes keys, certificates and firmware for boards, in one folder. */
export class Factory {
  readonly signingKey: SigningKey;
  readonly certificates: CertificateFiles;
  /** For a hub that wants client certificates of this factory. */
  readonly hubTls: TlsOptions;
  readonly opsFile: string;
  readonly #dir: string;
  readonly #layout: Layout | undefined;
  readonly #pattern: Factory | undefined;
  /** The firmware that was made without overrides, by version. */
  readonly #made = new Map<string, Promise<MadeFirmware>>();

  private constructor(
    dir: string,
    layout: Layout | undefined,
    like: Pick<Factory, "signingKey" | "hubTls">,
    pattern?: Factory,
  ) {
    this.#dir = dir;
    this.#layout = layout;
    this.#pattern = pattern;
    this.signingKey = like.signingKey;
    this.hubTls = like.hubTls;
    this.certificates = certificateFiles(join(dir, "pki"), [IDENTIFIER]);
    this.opsFile = join(dir, "ops.fw");
  }

  /**
   * Opens a factory in an existing folder.
   * @param layout default: that of the fixtures
   */
  static async open(dir: string, layout?: Layout): Promise<Factory> {
    const { server, caFile } = await writeCertificates(join(dir, "pki"), [IDENTIFIER]);
    await makeOps({ path: join(dir, "ops.fw"), ...(layout !== undefined && { layout }) });
    return new Factory(dir, layout, {
      signingKey: generateSigningKey(),
      hubTls: {
        cert: await readFile(server.certFile, "utf8"),
        key: await readFile(server.keyFile, "utf8"),
        ca: await readFile(caFile, "utf8"),
        clientCertificates: "required",
      },
    });
  }

  /** Opens one with the same keys in another folder. */
  async copyTo(dir: string): Promise<Factory> {
    await cp(join(this.#dir, "pki"), join(dir, "pki"), { recursive: true, mode: MODE });
    const copy = new Factory(dir, this.#layout, this, this);
    await copyFile(this.opsFile, copy.opsFile, MODE);
    return copy;
  }

  /** Makes firmware of that version, or copies it where this is a copy of a factory that has made it. */
  async firmware(version: string, overrides: Partial<FirmwareOptions> = {}): Promise<MadeFirmware> {
    if (Object.keys(overrides).length > 0) return await this.#make(version, overrides);
    if (this.#pattern === undefined) return await this.#once(version);
    return await this.#copy(await this.#pattern.#once(version), version);
  }

  async #once(version: string): Promise<MadeFirmware> {
    const made = this.#made.get(version) ?? this.#make(version);
    this.#made.set(version, made);
    return await made;
  }

  async #make(version: string, overrides: Partial<FirmwareOptions> = {}): Promise<MadeFirmware> {
    return await makeFirmware({
      path: join(this.#dir, `${version}.fw`),
      product: "demo-board",
      platform: "rpi0",
      architecture: "arm",
      version,
      rootfs: { sizeBytes: SMALL, seed: version },
      privateKey: this.signingKey.privateKey,
      ...(this.#layout !== undefined && { layout: this.#layout }),
      ...overrides,
    });
  }

  async #copy(made: MadeFirmware, version: string): Promise<MadeFirmware> {
    const path = join(this.#dir, `${version}.fw`);
    await copyFile(made.path, path, MODE);
    return { ...made, path };
  }

  /** The configuration of a board with its disk and the rest at `place`; sections of `parts` go over it. */
  config(place: BoardPlace, ...parts: readonly Tables[]): Tables {
    const device = this.certificates.devices.get(IDENTIFIER);
    const tables: Record<string, Tables[string]> = {
      hub: {
        url: place.hubUrl,
        ca_file: this.certificates.caFile,
        reconnect: { min_s: 0.01, max_s: 0.05 },
      },
      identity: { file: { cert_file: device?.certFile, key_file: device?.keyFile } },
      firmware: {
        devpath: place.disk,
        fwup: realFwup() ?? STAND_IN,
        uboot_env_config: place.fwEnvConfig,
        ops_file: this.opsFile,
      },
      update: {
        retry: { delay_s: 0.01 },
        mode: "stream",
        cache_dir: join(place.stateDir, "firmware"),
      },
      reboot: { command: place.rebootCommand, escalate_s: 3600 },
      state: { dir: place.stateDir, control_socket: place.controlSocket },
    };
    for (const part of parts) {
      for (const [name, table] of Object.entries(part)) {
        const before = tables[name];
        tables[name] = isList(table) ? table : { ...(isList(before) ? {} : before), ...table };
      }
    }
    return tables;
  }
}

/** The tables of a list, such as `[[component]]`. */
function isList(tables: Tables[string] | undefined): tables is readonly object[] {
  return Array.isArray(tables);
}
