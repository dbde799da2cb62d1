/** Reads a firmware's metadata with fwup, for the updates that the stand-in hub offers. */
import { access } from "node:fs/promises";
import { systemClock } from "../../src/platform/clock.ts";
import { runCommand } from "../../src/platform/command.ts";
import { Failure, fileFailure } from "../../src/platform/failure.ts";
import { PATIENCE_MS } from "../eventually.ts";
import { realFwup, STAND_IN } from "../fwup/run.ts";
import type { FirmwareMeta } from "./releases.ts";

/**
 * Reads a firmware file's metadata with `fwup -m`.
 * @throws Failure `no-input` when there is no such file, `config` when it is not firmware
 */
export async function readFirmwareMeta(file: string): Promise<FirmwareMeta> {
  try {
    await access(file);
  } catch (error) {
    throw fileFailure("firmware", file, error);
  }
  const { exitCode, stdout, stderr } = await runCommand([realFwup() ?? STAND_IN, "-m", "-i", file], {
    clock: systemClock,
    timeoutMs: PATIENCE_MS,
  });
  const values = new Map<string, string>();
  for (const [, key = "", value = ""] of stdout.matchAll(/^meta-([a-z-]+)="?(.*?)"?$/gm))
    values.set(key, value);
  const needed = (key: string): string => {
    const value = values.get(key);
    if (exitCode !== 0 || value === undefined) {
      const words = stderr.trim().split("\n")[0] ?? "";
      throw new Failure("config", `firmware ${file}: ${words || `no meta-${key} in it`}`);
    }
    return value;
  };
  return {
    uuid: needed("uuid"),
    product: needed("product"),
    version: needed("version"),
    platform: needed("platform"),
    architecture: needed("architecture"),
    author: values.get("author") ?? null,
    description: values.get("description") ?? null,
    vcs_identifier: values.get("vcs-identifier") ?? null,
    misc: values.get("misc") ?? null,
  };
}
