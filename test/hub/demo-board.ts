/**
 * The board of `npm run hub`: certificates, a disk, firmware and a configuration, with which an agent on this
 * computer joins the stand-in hub.
 */
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "smol-toml";
import { generateSigningKey, makeBoard, makeFirmware, makeOps } from "../fwup/archive.ts";
import { realFwup, STAND_IN } from "../fwup/run.ts";
import { writeCertificates, type PairFiles } from "./certificates.ts";
import type { FirmwareMeta } from "./releases.ts";

/** Large enough for progress to be seen. */
const DEMO_ROOTFS_BYTES = 2 * 1024 * 1024;

/** The certificates of a hub and its one device. */
export interface DemoCertificates {
  readonly caFile: string;
  readonly server: PairFiles;
  readonly device: PairFiles;
}

/** Makes the certificates in `dir`, or finds those of an earlier run. */
export async function keepCertificates(dir: string, identifier: string): Promise<DemoCertificates> {
  const folder = join(dir, "certificates");
  const pair = (name: string): PairFiles => ({
    certFile: join(folder, `${name}.pem`),
    keyFile: join(folder, `${name}.key`),
  });
  const [server, device] = [pair("server"), pair(`device-${identifier}`)];
  const caFile = join(folder, "ca.pem");
  const files = [caFile, server.certFile, server.keyFile, device.certFile, device.keyFile];
  if (!files.every((file) => existsSync(file))) await writeCertificates(folder, [identifier]);
  return { caFile, server, device };
}

/** A board that an agent on this computer can be. */
export interface DemoBoard {
  /** The agent's configuration file. */
  readonly configFile: string;
  /** Firmware to try updates with. */
  readonly nextFirmware: string;
  /** Signs it; base64. */
  readonly publicKey: string;
}

/**
 * Writes the files that an agent on this computer needs to be a board of the hub: a disk on which 1.0.0 runs
 * (a kind of board that `like` can update; an existing disk is kept), a 2.0.0 to update to, and a
 * configuration. The board writes to this folder only, also as root, and leaves the computer's clock alone. Its reboot
 * ends the agent, and is done when a person starts that again: the computer must not reboot, and sysrq would.
 */
export async function writeDemoBoard(
  dir: string,
  options: {
    readonly url: string;
    readonly certificates: DemoCertificates;
    readonly like: FirmwareMeta | undefined;
  },
): Promise<DemoBoard> {
  const { product = "demo-board", platform = "rpi0", architecture = "arm" } = options.like ?? {};
  const key = generateSigningKey();
  const firmware = async (version: string): Promise<string> => {
    const path = join(dir, `${version}.fw`);
    const rootfs = { sizeBytes: DEMO_ROOTFS_BYTES, seed: version };
    const about = { product, version, platform, architecture };
    await makeFirmware({ path, ...about, rootfs, privateKey: key.privateKey });
    return path;
  };
  await mkdir(dir, { recursive: true });
  const fwEnvConfig = join(dir, "fw_env.config");
  const disk = join(dir, "disk.img");
  if (!existsSync(fwEnvConfig)) await makeBoard({ dir, firmware: await firmware("1.0.0") });
  const { path: opsFile } = await makeOps({
    path: join(dir, "ops.fw"),
    target: { platform, architecture },
  });
  const configFile = join(dir, "config.toml");
  const { caFile, device } = options.certificates;
  const config = {
    hub: { url: options.url, ca_file: caFile },
    identity: { source: "file", file: { cert_file: device.certFile, key_file: device.keyFile } },
    firmware: {
      fwup: realFwup() ?? STAND_IN,
      devpath: disk,
      uboot_env_config: fwEnvConfig,
      ops_file: opsFile,
    },
    update: { cache_dir: join(dir, "cache") },
    archives: { dir: join(dir, "archives") },
    clock: { guard: false },
    reboot: { command: "kill -TERM $PPID", escalate_s: 3600 },
    console: { enabled: true, upload_dir: join(dir, "uploads") },
    extensions: { alarms: true, local_shell: true, metrics: true },
    scripts: { enabled: true },
    state: { dir: join(dir, "state"), control_socket: join(dir, "control.sock") },
  };
  await writeFile(configFile, stringify(config));
  return { configFile, nextFirmware: await firmware("2.0.0"), publicKey: key.publicKeyBase64 };
}
