/**
 * The board's own serial number, which names the device when neither the configuration nor a certificate does.
 */
import { join } from "node:path";
import type { Clock } from "../platform/clock.ts";
import { runCommand } from "../platform/command.ts";
import { Failure } from "../platform/failure.ts";
import { readIfThere } from "../platform/files.ts";

const BOARDID_TIMEOUT_MS = 5000;

/**
 * The first serial number that the board has: device tree, cpuinfo, nerves' boardid, machine-id.
 * Placeholders don't count: boards whose fuses were never burnt have them, and a whole fleet would share a name.
 * @param root the root folder, `/` on a board
 */
export async function serialNumber(root: string, clock: Clock): Promise<string | undefined> {
  const read = async (path: string): Promise<string | undefined> => readIfThere(join(root, path));
  const sources = [
    async () => read("proc/device-tree/serial-number"),
    async () => /^Serial[ \t]*:[ \t]*(\S+)$/m.exec((await read("proc/cpuinfo")) ?? "")?.[1],
    async () => boardid(join(root, "usr/bin/boardid"), clock),
    async () => read("etc/machine-id"),
  ];
  for (const source of sources) {
    // The device tree's texts end with a NUL.
    const serial = (await source())?.replaceAll("\0", "").trim() ?? "";
    if (!/^(0*|uninitialized)$/.test(serial)) return serial;
  }
  return undefined;
}

/** https://github.com/nerves-project/boardid knows many boards' EEPROMs and fuses. */
async function boardid(program: string, clock: Clock): Promise<string | undefined> {
  try {
    const result = await runCommand([program], { clock, timeoutMs: BOARDID_TIMEOUT_MS });
    return result.exitCode === 0 ? result.stdout : undefined;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return undefined; // not installed
  }
}
