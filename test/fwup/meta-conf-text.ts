/**
 * The text of the meta.conf files of the tests' archives, letter by letter as fwup writes them: a UUID
 * follows from the text, so any other text would be another firmware.
 */
import { quoteIfNeeded } from "./firmware.ts";
import type { Layout } from "./layout.ts";

/** A firmware's metadata, with the names that the hub uses. */
export interface FirmwareMeta {
  readonly uuid: string;
  readonly product: string;
  readonly description: string;
  readonly version: string;
  readonly author: string;
  readonly platform: string;
  readonly architecture: string;
  readonly vcs_identifier: string;
}

/** The values that the tasks of an ops.fw require of a slot before they revert to it. */
export interface Target {
  readonly platform: string;
  readonly architecture: string;
}

export interface ResourceMeta {
  readonly sizeBytes: number;
  /** BLAKE2b-256, in hexadecimal digits. */
  readonly blake2b: string;
}

/** The meta.conf of an A/B firmware, as fwup writes it from the fixtures' fwup.conf: letter by letter. */
export function firmwareConf(meta: Omit<FirmwareMeta, "uuid">, rootfs: ResourceMeta, layout: Layout): string {
  return lines(
    setting("meta-product", meta.product),
    setting("meta-description", meta.description),
    setting("meta-version", meta.version),
    setting("meta-author", meta.author),
    setting("meta-platform", meta.platform),
    setting("meta-architecture", meta.architecture),
    setting("meta-vcs-identifier", meta.vcs_identifier),
    "require-fwup-version=1.9.0",
    section('file-resource "rootfs.img"', `length=${rootfs.sizeBytes}`, `blake2b-256=${rootfs.blake2b}`),
    ...masterBootRecords(layout),
    section(
      'task "complete"',
      onEvent("on-init", [
        ["mbr_write", "mbr-a"],
        ["uboot_clearenv", ENVIRONMENT],
        set("nerves_serial_number", "${NERVES_SERIAL_NUMBER}"),
        set("nerves_fw_devpath", "/dev/mmcblk0"),
        set("nerves_fw_active", "a"),
        set("nerves_fw_validated", "1"),
        ...startCount(layout),
        ...describeSlot("a", meta),
      ]),
      onEvent("on-finish", [["raw_memset", String(layout.slotBOffset), "256", "0xff"]]),
      onResource([["raw_write", String(layout.slotAOffset)]]),
    ),
    upgrade("a", "b", meta, layout),
    upgrade("b", "a", meta, layout),
    section(
      'task "upgrade.notvalidated"',
      list("reqlist", [variable("nerves_fw_validated", "0")]),
      onEvent("on-init", [
        ["error", "Running firmware is not validated. Validate it before updating again."],
      ]),
    ),
    section(
      'task "upgrade.wrongplatform"',
      onEvent("on-init", [
        ["error", `Expecting platform=${meta.platform} and architecture=${meta.architecture}`],
      ]),
    ),
    environment(layout),
  );
}

/** The meta.conf of an ops.fw, as fwup writes it from the fixtures' fwup-ops.conf. */
export function opsConf(target: Target, layout: Layout): string {
  return lines(
    "require-fwup-version=1.9.0",
    ...masterBootRecords(layout),
    section(
      'task "validate"',
      list("reqlist", [variable("nerves_fw_validated", "0")]),
      onEvent("on-init", [
        ["info", "validated"],
        set("nerves_fw_validated", "1"),
        set("upgrade_available", "0"),
        set("bootcount", "0"),
        ...startCount(layout),
      ]),
    ),
    section('task "validate.already"', onEvent("on-init", [["info", "already validated"]])),
    revert("a", "b", target, layout),
    revert("b", "a", target, layout),
    section('task "revert.fail"', onEvent("on-init", [["error", "No valid firmware to revert to"]])),
    invalidate("a", "b"),
    invalidate("b", "a"),
    status("a", layout),
    status("b", layout),
    environment(layout),
  );
}

type Slot = "a" | "b";
type Call = readonly string[];

const ENVIRONMENT = "uboot-env";

function upgrade(to: Slot, from: Slot, meta: Omit<FirmwareMeta, "uuid">, layout: Layout): string {
  return section(
    `task "upgrade.${to}"`,
    list("reqlist", [
      ...partitionOne(from, layout),
      variable("nerves_fw_active", from),
      variable("nerves_fw_validated", "1"),
      variable(`${from}.nerves_fw_platform`, meta.platform),
      variable(`${from}.nerves_fw_architecture`, meta.architecture),
    ]),
    onEvent("on-init", [["info", `Upgrading partition ${to.toUpperCase()}`], ...forgetSlot(to)]),
    onEvent("on-finish", [
      ...slotFirst(layout),
      ...describeSlot(to, meta),
      set("nerves_fw_active", to),
      set("nerves_fw_validated", "0"),
      set("upgrade_available", "1"),
      set("bootcount", "0"),
      ...startCount(layout),
      ...swap(to, layout),
    ]),
    onEvent("on-error", [set("last_update_error", to)]),
    onResource(
      [["raw_write", String(slotOffset(to, layout))]],
      `delta-source-raw-offset=${slotOffset(from, layout)}`,
      `delta-source-raw-count=${layout.slotBlocks}`,
    ),
  );
}

/**
 * fwup 1.16.0 writes on while it goes on to the environment: what it writes here has the slot on the disk by
 * then, see buildroot/board/common/fwup.conf.
 */
function slotFirst({ unused }: Layout): Call[] {
  return unused === undefined ? [] : [["raw_memset", String(unused.offset), String(unused.blocks), "0xff"]];
}

function revert(to: Slot, from: Slot, target: Target, layout: Layout): string {
  return section(
    `task "revert.${to}"`,
    list("reqlist", [
      ...bootedFrom(from, layout),
      variable(`${to}.nerves_fw_platform`, target.platform),
      variable(`${to}.nerves_fw_architecture`, target.architecture),
    ]),
    onEvent("on-init", [
      ["info", `Reverting to ${to.toUpperCase()}`],
      set("nerves_fw_active", to),
      set("nerves_fw_validated", "1"),
      set("upgrade_available", "0"),
      ...startCount(layout),
      ...swap(to, layout),
    ]),
  );
}

function invalidate(slot: Slot, active: Slot): string {
  return section(
    `task "invalidate.${slot}"`,
    list("reqlist", [variable("nerves_fw_active", active)]),
    onEvent("on-init", [["info", `Invalidated ${slot.toUpperCase()}`], ...forgetSlot(slot)]),
  );
}

function status(slot: Slot, layout: Layout): string {
  return section(
    `task "status.${slot}"`,
    list("reqlist", bootedFrom(slot, layout)),
    onEvent("on-init", [["info", slot]]),
  );
}

function describeSlot(slot: Slot, meta: Omit<FirmwareMeta, "uuid">): Call[] {
  return [
    set(`${slot}.nerves_fw_product`, meta.product),
    set(`${slot}.nerves_fw_version`, meta.version),
    set(`${slot}.nerves_fw_platform`, meta.platform),
    set(`${slot}.nerves_fw_architecture`, meta.architecture),
    set(`${slot}.nerves_fw_uuid`, "${FWUP_META_UUID}"),
  ];
}

function forgetSlot(slot: Slot): Call[] {
  return ["version", "platform", "architecture", "uuid"].map((name) => [
    "uboot_unsetenv",
    ENVIRONMENT,
    `${slot}.nerves_fw_${name}`,
  ]);
}

function set(name: string, value: string): Call {
  return ["uboot_setenv", ENVIRONMENT, name, value];
}

function variable(name: string, value: string): Call {
  return ["require-uboot-variable", ENVIRONMENT, name, value];
}

/** The requirement that `slot` is booted, on boards whose partition table chooses the slot; else none. */
function partitionOne(slot: Slot, layout: Layout): Call[] {
  if (layout.bootedBy === "environment") return [];
  return [["require-partition-offset", "1", String(slotOffset(slot, layout))]];
}

function bootedFrom(slot: Slot, layout: Layout): Call[] {
  if (layout.bootedBy === "environment") return [variable("nerves_fw_active", slot)];
  return partitionOne(slot, layout);
}

function swap(to: Slot, layout: Layout): Call[] {
  return layout.bootedBy === "environment" ? [] : [["mbr_write", `mbr-${to}`]];
}

function startCount(layout: Layout): Call[] {
  return layout.bootedBy === "environment" ? [set("nerves_fw_booted", "0")] : [];
}

function slotOffset(slot: Slot, layout: Layout): number {
  return slot === "a" ? layout.slotAOffset : layout.slotBOffset;
}

function masterBootRecords(layout: Layout): string[] {
  return (["a", "b"] as const).map((slot) =>
    section(
      `mbr "mbr-${slot}"`,
      section(
        'partition "1"',
        `block-offset=${slotOffset(slot, layout)}`,
        `block-count=${layout.slotBlocks}`,
        "type=131",
        "boot=true",
      ),
      section(
        'partition "2"',
        `block-offset=${layout.dataOffset}`,
        `block-count=${layout.dataBlocks}`,
        "type=131",
      ),
    ),
  );
}

function environment(layout: Layout): string {
  return section(
    `uboot-environment "${ENVIRONMENT}"`,
    `block-offset=${layout.environmentOffset}`,
    `block-count=${layout.environmentBlocks}`,
    layout.secondEnvironmentOffset === undefined
      ? ""
      : `block-offset-redund=${layout.secondEnvironmentOffset}`,
  );
}

function onEvent(event: string, funlist: readonly Call[]): string {
  return section(event, list("funlist", funlist));
}

function onResource(funlist: readonly Call[], ...settings: string[]): string {
  return section('on-resource "rootfs.img"', ...settings, list("funlist", funlist));
}

/** Writes calls in one flat list, each after the number of its parts. */
function list(name: "funlist" | "reqlist", calls: readonly Call[]): string {
  const parts = calls.flatMap((call) => [String(call.length), ...call.map(quoteIfNeeded)]);
  return `${name}={${parts.join(",")}}\n`;
}

function setting(key: string, value: string): string {
  return value === "" ? "" : `${key}=${quoteIfNeeded(value)}\n`;
}

function section(heading: string, ...content: string[]): string {
  return `${heading} {\n${lines(...content)}}\n`;
}

function lines(...parts: string[]): string {
  return parts.map((part) => (part === "" || part.endsWith("\n") ? part : `${part}\n`)).join("");
}
