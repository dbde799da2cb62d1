/** The things that all measurements share: a hub, a file server in a process of its own, firmware, and new boards. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "smol-toml";
import { generateSigningKey, makeBoard, makeFirmware, makeOps, type SigningKey } from "../fwup/archive.ts";
import { BLOCK_BYTES } from "../fwup/block-cache.ts";
import { layoutWithSlots } from "../fwup/layout.ts";
import { realFwup, STAND_IN } from "../fwup/run.ts";
import { writeCertificates } from "../hub/certificates.ts";
import type { Release } from "../hub/releases.ts";
import { startHub, type Hub } from "../hub/server.ts";
import { startFileServer, type FileServer } from "./file-server-process.ts";

export interface BenchOptions {
  /** The bundle to measure. */
  readonly agent: string;
  /** Size of the root file system in the firmware. */
  readonly rootfsBytes: number;
  readonly rounds: number;
}

/** A hub, a server of firmware in a process of its own, and new boards. */
export interface Bench extends BenchOptions {
  readonly hub: Hub;
  readonly release: Release;
  readonly files: FileServer;
  readonly fwup: string;
  readonly caFile: string;
  readonly signingKey: SigningKey;
  newBoard(): Promise<BenchBoard>;
  remove(): Promise<void>;
}

/** A board as it leaves the factory. */
export interface BenchBoard {
  readonly disk: string;
  readonly configFile: string;
  remove(): Promise<void>;
}

export const IDENTIFIER = "board-1";
const HEARTBEAT_S = 0.1;
const OLD_ROOTFS_BYTES = 64 * 1024;

export async function setUpBench(options: BenchOptions): Promise<Bench> {
  const dir = await mkdtemp(join(tmpdir(), "hublink-bench-"));
  const fwup = realFwup() ?? STAND_IN;
  const signingKey = generateSigningKey();
  const certificates = await writeCertificates(join(dir, "pki"), [IDENTIFIER]);
  const tls = {
    cert: await readFile(certificates.server.certFile, "utf8"),
    key: await readFile(certificates.server.keyFile, "utf8"),
    ca: await readFile(certificates.caFile, "utf8"),
  };
  const layout = layoutWithSlots(options.rootfsBytes / BLOCK_BYTES);
  const firmware = async (version: string, sizeBytes: number) =>
    makeFirmware({
      path: join(dir, `${version}.fw`),
      product: "demo-board",
      platform: "rpi0",
      architecture: "arm",
      version,
      rootfs: { sizeBytes, seed: version },
      privateKey: signingKey.privateKey,
      compression: "stored",
      layout,
    });
  const v1 = await firmware("1.0.0", OLD_ROOTFS_BYTES);
  const v2 = await firmware("2.0.0", options.rootfsBytes);
  const opsFile = join(dir, "ops.fw");
  await makeOps({ path: opsFile, layout });
  const hub = await startHub({ tls: { ...tls, clientCertificates: "required" } });
  const release = await hub.publish(v2.path, v2.meta);
  const files = await startFileServer(v2.path, certificates.server);
  let boards = 0;

  return {
    ...options,
    hub,
    release,
    files,
    fwup,
    caFile: certificates.caFile,
    signingKey,
    async newBoard() {
      boards += 1;
      const home = join(dir, `board-${boards}`);
      await mkdir(home);
      const { disk, fwEnvConfig } = await makeBoard({ dir: home, firmware: v1.path, layout });
      const device = certificates.devices.get(IDENTIFIER);
      const configFile = join(home, "config.toml");
      const config = {
        hub: { url: hub.url, ca_file: certificates.caFile, heartbeat_s: HEARTBEAT_S },
        identity: { file: { cert_file: device?.certFile, key_file: device?.keyFile } },
        firmware: {
          devpath: disk,
          fwup,
          uboot_env_config: fwEnvConfig,
          ops_file: opsFile,
          public_keys: [signingKey.publicKeyBase64],
        },
        reboot: { command: "true", escalate_s: 3600 }, // this machine stays up
        state: { dir: join(home, "state"), control_socket: join(home, "hublink.sock") },
      };
      await writeFile(configFile, stringify(config), { mode: 0o600 });
      return { disk, configFile, remove: async () => rm(home, { recursive: true }) };
    },
    async remove() {
      await files.stop();
      await hub.stop();
      await rm(dir, { recursive: true });
    },
  };
}
