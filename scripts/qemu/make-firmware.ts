/** Firmware archives, made from buildroot's own fwup.conf without fwup, which Debian does not have. */
import type { KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import { writeArchive, type MadeFirmware } from "../../test/fwup/archive.ts";
import { createBlake2b } from "../../test/fwup/blake2b.ts";
import { metaConf, readFwupConf, type Resource } from "./fwup-conf.ts";

export interface FirmwareSource {
  /** Where to write the archive. */
  readonly path: string;
  readonly conf: string;
  /** The variables that the conf needs. */
  readonly environment: Readonly<Record<string, string>>;
  readonly privateKey: KeyObject;
}

/** Makes a signed archive of a fwup.conf and the files that it names, as `fwup -c` does. */
export async function makeFirmware(source: FirmwareSource): Promise<MadeFirmware> {
  const conf = await readFwupConf(source.conf, source.environment);
  const resources = new Map<string, Resource>();
  const files = [];
  for (const { kind, title, settings } of conf.sections) {
    if (kind !== "file-resource") continue;
    const content = await readFile(settings.get("host-path") ?? "");
    const hash = await createBlake2b();
    hash.update(content);
    const sizeBytes = content.length;
    resources.set(title, { sizeBytes, blake2b: hash.digest().toString("hex") });
    files.push({
      name: `data/${title}`,
      sizeBytes,
      pieces: () => [content],
      compression: "deflated" as const,
    });
  }
  const text = Buffer.from(metaConf(conf, resources));
  const written = await writeArchive(source.path, text, source.privateKey, files);
  const meta = (name: string): string => conf.settings.get(`meta-${name}`) ?? "";
  return {
    path: source.path,
    ...written,
    meta: {
      uuid: written.uuid,
      product: meta("product"),
      description: meta("description"),
      version: meta("version"),
      author: meta("author"),
      platform: meta("platform"),
      architecture: meta("architecture"),
      vcs_identifier: meta("vcs-identifier"),
    },
  };
}
