/** Chooses and runs a task of a firmware, as fwup does: requirements, events, and `on-error`. */
import { applyDelta } from "./delta.ts";
import type { Firmware } from "./firmware.ts";
import {
  callUnits,
  environmentOf,
  resourceBytes,
  runCall,
  type Call,
  type ResourceContent,
  type TaskContext,
} from "./functions.ts";
import { BLOCK_BYTES } from "./block-cache.ts";
import { FwupError } from "./fwup-error.ts";
import { partitionOffset } from "./mbr.ts";
import { findSection, numberSetting, sectionsOf, textSetting, type Section } from "./meta-conf.ts";
import { readEnvironment } from "./uboot-environment.ts";
import type { ZipEntry } from "./zip-stream.ts";

const MAX_ARGUMENTS = 10;

/**
 * The first task, in the file's order, whose name begins with `prefix` and whose requirements all hold.
 * @throws FwupError when there is none
 */
export function chooseTask(prefix: string, context: TaskContext): Section {
  const task = sectionsOf(context.config, "task").find(
    (each) => each.title.startsWith(prefix) && calls(each, "reqlist").every((call) => holds(call, context)),
  );
  if (task !== undefined) return task;
  throw new FwupError(
    `Couldn't find applicable task '${prefix}'. If task is available, the task's requirements may not be met.`,
  );
}

/** An unreadable thing, such as a blank environment, fails a requirement without a message. */
function holds(call: Call, context: TaskContext): boolean {
  switch (call[0]) {
    case "require-partition-offset":
      return partitionOffset(context.cache.read(0, BLOCK_BYTES), Number(call[1])) === Number(call[2]);
    case "require-uboot-variable":
      try {
        return (
          readEnvironment(context.cache, environmentOf(call, context)).variables.get(call[2] ?? "") ===
          call[3]
        );
      } catch {
        return false; // as in fwup: a blank or corrupt environment has no variables
      }
    case "require-fat-file-exists":
    case "require-fat-file-match":
    case "require-path-on-device":
    case "require-path-at-offset":
      throw new FwupError(`${call[0]} isn't supported by this stand-in for fwup`);
    default:
      return false;
  }
}

/** The work of a whole task, in units of progress. */
export function taskUnits(task: Section, context: TaskContext): number {
  return task.sections
    .filter(({ kind }) => kind !== "on-error")
    .filter(
      ({ kind, title }) => kind !== "on-resource" || findSection(context.config, "file-resource", title),
    )
    .flatMap((event) => calls(event, "funlist").map((call) => callUnits(call, context, event.title)))
    .reduce((sum, units) => sum + units, 0);
}

/**
 * Runs a task. When it fails, the cache is thrown away and `on-error` runs in a fresh one.
 * @throws FwupError the failure
 */
export async function runTask(task: Section, firmware: Firmware, context: TaskContext): Promise<void> {
  try {
    await runSteps(task, firmware, context);
  } catch (error) {
    context.cache.reset();
    try {
      await runEvent(task, "on-error", context);
    } catch {
      context.cache.reset(); // the first failure is the one to tell
    }
    throw error;
  }
}

async function runSteps(task: Section, firmware: Firmware, context: TaskContext): Promise<void> {
  const pending = new Map(sectionsOf(task, "on-resource").map((event) => [event.title, event]));
  for (const name of pending.keys())
    if (findSection(context.config, "file-resource", name) === undefined)
      throw new FwupError(`Resource '${name}' used, but metadata is missing. Archive is corrupt.`);
  await runEvent(task, "on-init", context);
  const nextEntry = async (): Promise<ZipEntry | undefined> => firmware.archive.next().catch(() => undefined); // then the missing resources are reported below
  for (let entry = await nextEntry(); entry !== undefined; entry = await nextEntry()) {
    const name = resourceName(entry);
    const event = pending.get(name);
    if (event === undefined) continue;
    const resource = { name, read: resourceReader(entry, event, context) };
    await runCalls(calls(event, "funlist"), context, resource);
    pending.delete(name);
  }
  for (const name of pending.keys()) throw new FwupError(`Resource ${name} not found in archive`);
  await runEvent(task, "on-finish", context);
}

/** The name under which a meta.conf knows an archive's entry. */
export function resourceName(entry: ZipEntry): string {
  return entry.name.startsWith("data/") ? entry.name.slice("data/".length) : `/${entry.name}`;
}

/** A resource's content; one of another size than it should have is a delta. */
function resourceReader(entry: ZipEntry, event: Section, context: TaskContext): ResourceContent["read"] {
  const expectedBytes = resourceBytes(context.config, event.title);
  if (entry.sizeBytes === undefined || entry.sizeBytes === expectedBytes) return async () => entry.read();
  const offset = numberSetting(event, "delta-source-raw-offset");
  const count = numberSetting(event, "delta-source-raw-count");
  if (
    textSetting(event, "delta-source-raw-options") !== undefined ||
    textSetting(event, "delta-source-fat-offset")
  )
    throw new FwupError("Deltas of FAT files or encrypted slots aren't supported by this stand-in for fwup");
  if (offset === undefined || count === undefined)
    throw new FwupError(
      `File '${event.title}' isn't expected size (${entry.sizeBytes} vs ${expectedBytes}) and xdelta3 patch ` +
        "support not enabled on it. (Add delta-source-raw-offset / delta-source-raw-count or " +
        "delta-source-fat-offset / delta-source-fat-path)",
    );
  const sourceBytes = count * BLOCK_BYTES;
  const pieces = applyDelta(async () => entry.read(), {
    read(at, length) {
      if (at > sourceBytes)
        throw new FwupError(
          `xdelta tried to load outside of allowed byte range (0-${sourceBytes}): offset: ${at}, count: ${length}`,
        );
      return context.cache.read(offset * BLOCK_BYTES + at, Math.min(length, sourceBytes - at));
    },
  });
  return async () => {
    const { value } = await pieces.next();
    return value ?? undefined;
  };
}

async function runEvent(task: Section, kind: string, context: TaskContext): Promise<void> {
  const [event] = sectionsOf(task, kind);
  if (event !== undefined) await runCalls(calls(event, "funlist"), context, undefined);
}

async function runCalls(
  list: readonly Call[],
  context: TaskContext,
  resource: ResourceContent | undefined,
): Promise<void> {
  for (const call of list) await runCall(call, context, resource);
}

/** A flat list `{2,info,"text",2,mbr_write,"mbr-a"}` cut into its calls. */
function calls(section: Section, list: "funlist" | "reqlist"): Call[] {
  const values = [...(section.settings.get(list)?.values ?? [])];
  const result: Call[] = [];
  while (values.length > 0) {
    const count = Number(values.shift());
    if (!(count > 0 && count <= MAX_ARGUMENTS)) throw new FwupError(`Unexpected argc value in ${list}`);
    if (values.length < count) throw new FwupError(`Unexpected error with ${list}`);
    result.push(values.splice(0, count));
  }
  return result;
}
