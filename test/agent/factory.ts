import { readFile } from "node:fs/promises";
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
import { writeCertificates, type CertificateFiles } from "../hub/certificates.ts";
import type { TlsOptions } from "../hub/tls-front.ts";

export const IDENTIFIER = "board-1";

/** The `[section]`s of a configuration, as TOML would give them. */
export type Tables = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** What boards are made with: keys, certificates, firmware. */
export interface Factory {
  readonly signingKey: SigningKey;
  readonly certificates: CertificateFiles;
  /** For a hub that wants client certificates of this factory. */
  readonly hubTls: TlsOptions;
  readonly opsFile: string;
  /** Makes firmware of that version. */
  readonly firmware: (version: string, overrides?: Partial<FirmwareOptions>) => Promise<MadeFirmware>;
  /** The configuration of a board with its disk and the rest at `place`; sections of `parts` go over it. */
  config(place: BoardPlace, ...parts: readonly Tables[]): Tables;
}

export interface BoardPlace {
  readonly hubUrl: string;
  readonly disk: string;
  readonly fwEnvConfig: string;
  readonly stateDir: string;
  readonly controlSocket: string;
  /** The shell's command that "reboots". */
  readonly rebootCommand: string;
}

export interface FactoryOptions {
  /** Default: that of the fixtures. */
  readonly layout?: Layout;
  /** Makes the ops file. Default: true. */
  readonly ops?: boolean;
}

const SMALL = 2 * 1024 * 1024;

/** Opens a factory in an existing folder. */
export async function openFactory(
  dir: string,
  { layout, ops = true }: FactoryOptions = {},
): Promise<Factory> {
  const signingKey = generateSigningKey();
  const certificates = await writeCertificates(join(dir, "pki"), [IDENTIFIER]);
  const device = certificates.devices.get(IDENTIFIER);
  const opsFile = join(dir, "ops.fw");
  const laidOut = layout === undefined ? {} : { layout };
  if (ops) await makeOps({ path: opsFile, ...laidOut });
  return {
    signingKey,
    certificates,
    hubTls: {
      cert: await readFile(certificates.server.certFile, "utf8"),
      key: await readFile(certificates.server.keyFile, "utf8"),
      ca: await readFile(certificates.caFile, "utf8"),
      clientCertificates: "required",
    },
    opsFile,
    firmware: async (version, overrides = {}) =>
      makeFirmware({
        path: join(dir, `${version}.fw`),
        product: "demo-board",
        platform: "rpi0",
        architecture: "arm",
        version,
        rootfs: { sizeBytes: SMALL, seed: version },
        privateKey: signingKey.privateKey,
        ...laidOut,
        ...overrides,
      }),
    config(place, ...parts) {
      const tables: Record<string, Record<string, unknown>> = {
        hub: {
          url: place.hubUrl,
          ca_file: certificates.caFile,
          reconnect: { min_s: 0.01, max_s: 0.05 },
        },
        identity: { file: { cert_file: device?.certFile, key_file: device?.keyFile } },
        firmware: {
          devpath: place.disk,
          fwup: realFwup() ?? STAND_IN,
          uboot_env_config: place.fwEnvConfig,
          ops_file: opsFile,
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
        for (const [name, table] of Object.entries(part)) tables[name] = { ...tables[name], ...table };
      }
      return tables;
    },
  };
}
