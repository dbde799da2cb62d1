/**
 * fwup's functions (raw_write, uboot_setenv, …) as a task calls them, and how much progress each counts for.
 * A function that this stand-in lacks is refused by its name.
 */
import { createBlake2b } from "./blake2b.ts";
import { BLOCK_BYTES, type BlockCache } from "./block-cache.ts";
import { FwupError } from "./fwup-error.ts";
import { encodeMbr } from "./mbr.ts";
import { findSection, numberSetting, textSetting, type Section } from "./meta-conf.ts";
import type { Progress } from "./progress.ts";
import {
  emptyEnvironment,
  environmentPlace,
  environmentUnits,
  readEnvironment,
  writeEnvironment,
  type EnvironmentPlace,
} from "./uboot-environment.ts";

/** A function or requirement of a task with its arguments: `["raw_write", "2048"]`. */
export type Call = readonly string[];

/** The device, firmware and output that a task's functions use. */
export interface TaskContext {
  readonly config: Section;
  readonly cache: BlockCache;
  readonly progress: Progress;
  readonly deviceBlocks: number;
  readonly unsafe: boolean;
  readonly info: (text: string) => void;
}

/** The resource of an `on-resource`; undefined elsewhere. */
export interface ResourceContent {
  readonly name: string;
  /** Undefined at its end. */
  readonly read: () => Promise<Buffer | undefined>;
}

/**
 * How much work a call is, in units of progress; roughly the bytes that it writes.
 * @throws FwupError when it is unknown, or unknown to this stand-in
 */
export function callUnits(call: Call, context: TaskContext, resourceName: string): number {
  const name = call[0] ?? "";
  const units = UNITS[name];
  if (units !== undefined) return units(call, context, resourceName);
  if (NOT_HERE.includes(name)) throw new FwupError(`${name} isn't supported by this stand-in for fwup`);
  if (NEED_UNSAFE.includes(name)) return 0;
  throw new FwupError("Unknown function");
}

/** @throws FwupError when it fails */
export async function runCall(
  call: Call,
  context: TaskContext,
  resource: ResourceContent | undefined,
): Promise<void> {
  const name = call[0] ?? "";
  if (name === "raw_write") await rawWrite(call, context, resource);
  else if (NEED_UNSAFE.includes(name))
    throw new FwupError(
      context.unsafe ? `${name} isn't supported by this stand-in for fwup` : `${name} requires --unsafe`,
    );
  else FUNCTIONS[name]?.(call, context);
  if (name !== "raw_write" && name !== "raw_memset") context.progress.done(callUnits(call, context, ""));
}

const NEED_UNSAFE = ["path_write", "pipe_write", "ubi_volume_write", "execute"];
const NOT_HERE = [
  "fat_attrib",
  "fat_mkfs",
  "fat_write",
  "fat_mv",
  "fat_mv!",
  "fat_rm",
  "fat_rm!",
  "fat_cp",
  "fat_mkdir",
  "fat_setlabel",
  "fat_touch",
  "gpt_write",
  "trim",
  "reboot_param",
];

const environmentCallUnits = (call: Call, context: TaskContext): number =>
  environmentUnits(environmentOf(call, context));

const UNITS: Readonly<Record<string, (call: Call, context: TaskContext, resourceName: string) => number>> = {
  raw_write: (_, { config }, resourceName) => resourceBytes(config, resourceName),
  raw_memset: (call) => argument(call, 2) * BLOCK_BYTES,
  mbr_write: () => BLOCK_BYTES,
  uboot_clearenv: environmentCallUnits,
  uboot_setenv: environmentCallUnits,
  uboot_unsetenv: environmentCallUnits,
  uboot_recover: environmentCallUnits,
  error: () => 0,
  info: () => 0,
};

const FUNCTIONS: Readonly<Record<string, (call: Call, context: TaskContext) => void>> = {
  raw_memset: (call, { cache, progress }) => {
    const block = Buffer.alloc(BLOCK_BYTES, argument(call, 3));
    const first = argument(call, 1);
    for (let at = first; at < first + argument(call, 2); at++) {
      try {
        cache.write(at * BLOCK_BYTES, block, true);
      } catch (error) {
        const message = `raw_memset couldn't write ${BLOCK_BYTES} bytes to offset ${at * BLOCK_BYTES}`;
        throw new FwupError(message, { cause: error });
      }
      progress.done(BLOCK_BYTES);
    }
  },
  mbr_write: (call, { config, cache, deviceBlocks }) => {
    const section = findSection(config, "mbr", call[1] ?? "");
    if (section === undefined) throw new FwupError(`mbr_write can't find mbr reference ${call[1] ?? ""}`);
    cache.write(0, encodeMbr(section, deviceBlocks), false);
  },
  uboot_clearenv: (call, context) => {
    const place = environmentOf(call, context);
    writeEnvironment(context.cache, place, emptyEnvironment(place));
  },
  uboot_recover: (call, context) => {
    const place = environmentOf(call, context);
    try {
      readEnvironment(context.cache, place);
    } catch {
      writeEnvironment(context.cache, place, emptyEnvironment(place)); // this is what it recovers from
    }
  },
  uboot_setenv: (call, context) =>
    changeEnvironment(call, context, (variables) => void variables.set(call[2] ?? "", call[3] ?? "")),
  uboot_unsetenv: (call, context) =>
    changeEnvironment(call, context, (variables) => void variables.delete(call[2] ?? "")),
  info: (call, { info }) => info(call[1] ?? ""),
  error: (call) => {
    throw new FwupError(call[1] ?? "");
  },
};

function changeEnvironment(
  call: Call,
  context: TaskContext,
  change: (variables: Map<string, string>) => void,
): void {
  const place = environmentOf(call, context);
  const environment = readEnvironment(context.cache, place);
  change(environment.variables);
  writeEnvironment(context.cache, place, environment);
}

/** The environment that a function or requirement names first. */
export function environmentOf(call: Call, { config }: TaskContext): EnvironmentPlace {
  const section = findSection(config, "uboot-environment", call[1] ?? "");
  if (section === undefined)
    throw new FwupError(`${call[0] ?? ""} can't find uboot-environment reference ${call[1] ?? ""}`);
  return environmentPlace(section);
}

/** The size of a resource as it is to be written. */
export function resourceBytes(config: Section, name: string): number {
  const resource = findSection(config, "file-resource", name);
  if (resource === undefined) throw new FwupError(`file-resource '${name}' not found`);
  if ((resource.settings.get("length")?.values.length ?? 0) > 1)
    throw new FwupError(`'${name}' has holes, which isn't supported by this stand-in for fwup`);
  return numberSetting(resource, "length") ?? 0;
}

async function rawWrite(
  call: Call,
  context: TaskContext,
  resource: ResourceContent | undefined,
): Promise<void> {
  if (resource === undefined) throw new FwupError("raw_write only usable in on-resource");
  if (call.length > 2) throw new FwupError("Encrypting isn't supported by this stand-in for fwup");
  const { name } = resource;
  const expectedBytes = resourceBytes(context.config, name);
  const section = findSection(context.config, "file-resource", name);
  const expectedHash = section === undefined ? "" : (textSetting(section, "blake2b-256") ?? "");
  if (expectedHash.length !== 64) throw new FwupError(`invalid blake2b hash for '${name}'`);
  const writer = new BlockWriter(context.cache, argument(call, 1) * BLOCK_BYTES);
  const hash = await createBlake2b();
  let writtenBytes = 0;
  for (let piece = await resource.read(); piece !== undefined; piece = await resource.read()) {
    hash.update(piece);
    writer.write(piece);
    writtenBytes += piece.length;
    context.progress.done(piece.length);
  }
  if (writtenBytes === 0 && expectedBytes !== 0)
    throw new FwupError(
      `raw_write didn't write anything and was likely called twice in an on-resource for '${name}'. Try a "cp" function.`,
    );
  if (writtenBytes !== expectedBytes)
    throw new FwupError(
      `raw_write wrote ${writtenBytes} bytes for '${name}', but should have written ${expectedBytes}`,
    );
  if (hash.digest().toString("hex") !== expectedHash)
    throw new FwupError(`raw_write detected blake2b mismatch on '${name}'`);
  writer.flush();
}

/** Makes whole blocks out of pieces; the last one waits until it is known to be good. */
class BlockWriter {
  readonly #cache: BlockCache;
  readonly #partial = Buffer.alloc(BLOCK_BYTES);
  #partialBytes = 0;
  #offset: number;

  constructor(cache: BlockCache, offset: number) {
    this.#cache = cache;
    this.#offset = offset;
  }

  write(bytes: Buffer): void {
    let rest = bytes;
    if (this.#partialBytes > 0) {
      const taken = rest.copy(this.#partial, this.#partialBytes);
      this.#partialBytes += taken;
      rest = rest.subarray(taken);
      if (this.#partialBytes < BLOCK_BYTES) return;
      this.flush();
    }
    if (rest.length > BLOCK_BYTES) {
      const whole = rest.subarray(0, rest.length - (rest.length % BLOCK_BYTES));
      this.#cache.write(this.#offset, whole, true);
      this.#offset += whole.length;
      rest = rest.subarray(whole.length);
    }
    this.#partialBytes = rest.copy(this.#partial);
  }

  /** Fills the last block with zeros and writes it. */
  flush(): void {
    if (this.#partialBytes === 0) return;
    this.#cache.write(this.#offset, this.#partial.fill(0, this.#partialBytes), true);
    this.#offset += BLOCK_BYTES;
    this.#partialBytes = 0;
  }
}

/** A whole number, decimal or 0x…. */
function argument(call: Call, index: number): number {
  return Number(call[index] ?? "0");
}
