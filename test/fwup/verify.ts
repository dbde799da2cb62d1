/** The stand-in's `--verify`. */
import { createBlake2b } from "./blake2b.ts";
import { checkDeltaHeader } from "./delta.ts";
import { openFirmware, type FirmwareSource } from "./firmware.ts";
import { resourceBytes } from "./functions.ts";
import { FwupError } from "./fwup-error.ts";
import { findSection, sectionsOf, textSetting, type Section } from "./meta-conf.ts";
import { resourceName } from "./tasks.ts";
import type { ZipEntry } from "./zip-stream.ts";

/**
 * Reads all of an archive and checks all that can be checked; in a delta that is little.
 * @returns fwup's message for a good archive
 * @throws FwupError when it is not good
 */
export async function verifyFirmware(source: FirmwareSource): Promise<string> {
  const { archive, config, signed } = await openFirmware(source);
  const pending = new Set(sectionsOf(config, "file-resource").map(({ title }) => title));
  const nextEntry = async (): Promise<ZipEntry | undefined> => archive.next().catch(() => undefined); // then the missing resources are reported below
  for (let entry = await nextEntry(); entry !== undefined; entry = await nextEntry()) {
    const name = resourceName(entry);
    if (name === "") continue;
    if (findSection(config, "file-resource", name) === undefined)
      throw new FwupError(`Can't find file-resource for ${name}`);
    if (!pending.delete(name)) throw new FwupError(`Processing ${name} twice. Archive is corrupt.`);
    await verifyResource(config, name, entry);
  }
  for (const name of pending) throw new FwupError(`Resource ${name} not found in archive`);
  if (!signed) return "Valid archive without a signature\n";
  if (source.publicKeys.length > 0) return "Valid archive with a good signature\n";
  return "Valid archive with an unverified signature. Specify a public key to authenticate.\n";
}

async function verifyResource(config: Section, name: string, entry: ZipEntry): Promise<void> {
  const expectedBytes = resourceBytes(config, name);
  if (entry.sizeBytes !== undefined && entry.sizeBytes !== expectedBytes)
    return checkDeltaHeader(async () => entry.read());
  const hash = await createBlake2b();
  let readBytes = 0;
  for (let piece = await entry.read(); piece !== undefined; piece = await entry.read()) {
    hash.update(piece);
    readBytes += piece.length;
  }
  if (readBytes !== expectedBytes) throw new FwupError(`ZIP data length mismatch for ${name}`);
  const section = findSection(config, "file-resource", name);
  if (section === undefined || hash.digest().toString("hex") !== textSetting(section, "blake2b-256"))
    throw new FwupError(`Detected blake2b digest mismatch for ${name}`);
}
