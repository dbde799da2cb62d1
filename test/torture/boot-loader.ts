/** The boards' boot script in TypeScript: it boots a disk image after a power cut, and says what runs. */
import { decodeEnvironment, encodeEnvironment } from "../../src/firmware/uboot-format.ts";
import { BLOCK_BYTES } from "../fwup/block-cache.ts";
import type { Layout } from "../fwup/layout.ts";

/** Firmware that a slot may hold, with the bytes of its slot. */
export interface KnownFirmware {
  readonly version: string;
  readonly uuid: string;
  readonly content: Buffer;
}

export type Slot = "a" | "b";

/** How a board boots from a disk. */
export interface Boot {
  readonly slot: Slot;
  readonly firmware: KnownFirmware;
  readonly validated: boolean;
  /** The slot that the boot script passes to the kernel. */
  readonly kernelCommandLine: string;
  /** Slots that the environment named, but whose firmware is incomplete. */
  readonly failedTries: readonly Slot[];
  /** The environment was lost; its backup or the slots themselves were used. */
  readonly lostEnvironment: boolean;
}

/** No firmware on the disk starts. */
export class DeadBoard extends Error {}

const PARTITION_TABLE_SIGNATURE_AT = 510;
const PARTITION_TABLE_SIGNATURE = 0x55aa;

/** After this number of attempts, more would find nothing new. */
const MAX_TRIES = 4;

/**
 * Boots as buildroot/board/common/boot.cmd does. The disk has its environment once, with a backup that the
 * script makes, or twice. A slot starts when it holds known firmware byte for byte. Writes to the disk what the
 * script would write.
 * @throws DeadBoard
 */
export function boot(disk: Buffer, layout: Layout, known: readonly KnownFirmware[]): Boot {
  if (disk.readUInt16BE(PARTITION_TABLE_SIGNATURE_AT) !== PARTITION_TABLE_SIGNATURE)
    throw new DeadBoard("the partition table is lost");
  const failedTries: Slot[] = [];
  const tried: Slot[] = [];
  let lostEnvironment = false;
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const { variables, lost, save } = chooseSlot(disk, layout);
    lostEnvironment ||= lost;
    const slot: Slot = variables.get("nerves_fw_active") === "b" ? "b" : "a";
    const firmware = firmwareIn(disk, layout, slot, known);
    if (variables.get("nerves_fw_restored") === "1" && firmware !== undefined)
      describe(variables, slot, firmware);
    if (save) saveEnvironment(disk, layout, variables);
    const validated = variables.get("nerves_fw_validated") !== "0";
    if (validated) backUpEnvironment(disk, layout, variables);
    if (firmware !== undefined) {
      const kernelCommandLine = `fw_slot=${slot} fw_validated=${validated ? 1 : 0}`;
      return { slot, firmware, validated, kernelCommandLine, failedTries, lostEnvironment };
    }
    tried.push(slot);
    // In an environment that was lost, or that the script restored and nobody has confirmed, the slot is a guess.
    if (!lost && variables.get("nerves_fw_restored") !== "1") failedTries.push(slot);
    if (validated) {
      const given = { restored: "1", validated: "0", booted: "1" };
      for (const [name, value] of Object.entries(given)) variables.set(`nerves_fw_${name}`, value);
      saveEnvironment(disk, layout, variables);
    }
  }
  throw new DeadBoard(`no slot holds a whole firmware; tried ${tried.join(", ")}`);
}

/** The firmware that a slot holds byte for byte. */
export function firmwareIn(
  disk: Buffer,
  layout: Layout,
  slot: Slot,
  known: readonly KnownFirmware[],
): KnownFirmware | undefined {
  const start = (slot === "a" ? layout.slotAOffset : layout.slotBOffset) * BLOCK_BYTES;
  return known.find(({ content }) => disk.subarray(start, start + content.length).equals(content));
}

interface Choice {
  readonly variables: Map<string, string>;
  readonly lost: boolean;
  readonly save: boolean;
}

/** The first part of the script: it chooses a slot. */
function chooseSlot(disk: Buffer, layout: Layout): Choice {
  const stored = readEnvironment(disk, layout);
  const { lost } = stored;
  let save = lost;
  const variables = new Map(stored.variables);
  if (lost) {
    for (const slot of ["a", "b"]) {
      variables.delete(`${slot}.nerves_fw_platform`);
      variables.delete(`${slot}.nerves_fw_architecture`);
    }
    variables.set("nerves_fw_restored", "1");
    variables.set("nerves_fw_validated", "0");
    variables.set("nerves_fw_booted", "0");
  }
  const active: Slot = variables.get("nerves_fw_active") === "b" ? "b" : "a";
  const other: Slot = active === "a" ? "b" : "a";
  variables.set("nerves_fw_active", active);
  if (variables.get("nerves_fw_validated") === "0") {
    if (variables.get("nerves_fw_booted") !== "1") {
      variables.set("nerves_fw_booted", "1");
      save = true;
    } else if (variables.get("nerves_fw_restored") === "1") {
      variables.delete(`${active}.nerves_fw_platform`);
      variables.delete(`${active}.nerves_fw_architecture`);
      variables.set("nerves_fw_active", other);
      save = true;
    } else if (variables.has(`${other}.nerves_fw_platform`)) {
      variables.set("nerves_fw_active", other);
      variables.set("nerves_fw_validated", "1");
      variables.set("nerves_fw_reverted", "1");
      save = true;
    }
  } else if (variables.delete("nerves_fw_restored")) {
    save = true;
  }
  return { variables, lost, save };
}

/** Restores a description that was lost from the slot itself, without the uuid. */
function describe(variables: Map<string, string>, slot: Slot, { version }: KnownFirmware): void {
  if (variables.get(`${slot}.nerves_fw_version`) !== version) variables.delete(`${slot}.nerves_fw_uuid`);
  const read = { product: "demo-board", version, platform: "rpi0", architecture: "arm" };
  for (const [name, value] of Object.entries(read)) variables.set(`${slot}.nerves_fw_${name}`, value);
}

/** Where the script backs up an environment that is kept once, as in boot.cmd. */
const BACKUP_OFFSET = 0x110;

interface Place {
  readonly start: number;
  readonly sizeBytes: number;
}

function placeOf(offsetBlocks: number, layout: Layout): Place {
  return { start: offsetBlocks * BLOCK_BYTES, sizeBytes: layout.environmentBlocks * BLOCK_BYTES };
}

function readEnvironment(
  disk: Buffer,
  layout: Layout,
): { readonly variables: ReadonlyMap<string, string>; readonly lost: boolean } {
  const first = placeOf(layout.environmentOffset, layout);
  const second = layout.secondEnvironmentOffset;
  const copies = second === undefined ? [first] : [first, placeOf(second, layout)];
  const good = decode(disk, copies);
  if (good !== undefined) return { variables: good.variables, lost: false };
  const backup = second === undefined ? decode(disk, [placeOf(BACKUP_OFFSET, layout)]) : undefined;
  return { variables: backup?.variables ?? new Map([["nerves_fw_active", "a"]]), lost: true };
}

/** The variables of the environment itself; undefined when it is lost. */
export function readVariables(disk: Buffer, layout: Layout): ReadonlyMap<string, string> | undefined {
  const { variables, lost } = readEnvironment(disk, layout);
  return lost ? undefined : variables;
}

function decode(disk: Buffer, places: readonly Place[]): ReturnType<typeof decodeEnvironment> | undefined {
  const copies = places.map(({ start, sizeBytes }) => {
    return { bytes: disk.subarray(start, start + sizeBytes), name: `block ${start / BLOCK_BYTES}` };
  });
  try {
    return decodeEnvironment(copies, "fw_env.config");
  } catch {
    return undefined; // neither copy is valid
  }
}

function saveEnvironment(disk: Buffer, layout: Layout, variables: ReadonlyMap<string, string>): void {
  const first = placeOf(layout.environmentOffset, layout);
  if (layout.secondEnvironmentOffset === undefined) {
    disk.set(encodeEnvironment(variables, first.sizeBytes), first.start);
    return;
  }
  const places = [first, placeOf(layout.secondEnvironmentOffset, layout)];
  const stored = decode(disk, places);
  const obsolete = places[stored?.current === 0 ? 1 : 0] ?? first;
  disk.set(encodeEnvironment(variables, first.sizeBytes, ((stored?.flag ?? 0) + 1) % 256), obsolete.start);
}

function backUpEnvironment(disk: Buffer, layout: Layout, variables: ReadonlyMap<string, string>): void {
  if (layout.secondEnvironmentOffset !== undefined) return;
  const { start, sizeBytes } = placeOf(BACKUP_OFFSET, layout);
  disk.set(encodeEnvironment(variables, sizeBytes), start);
}
