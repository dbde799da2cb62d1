/** The stand-in's `--apply`: it opens the firmware and the device, runs the task, and flushes the device. */
import { closeSync } from "node:fs";
import { BlockCache } from "./block-cache.ts";
import type { Device } from "./device.ts";
import { openFirmware, type FirmwareSource } from "./firmware.ts";
import type { Output } from "./output.ts";
import type { Progress } from "./progress.ts";
import { chooseTask, runTask, taskUnits } from "./tasks.ts";

export interface ApplyOptions {
  readonly source: FirmwareSource;
  /** The beginning of the task's name. */
  readonly task: string;
  readonly device: Device;
  readonly verifyWrites: boolean;
  readonly unsafe: boolean;
  readonly output: Output;
  readonly progress: Progress;
}

/**
 * Applies a firmware to a device and closes it. Nothing is synced, as fwup doesn't.
 * @throws FwupError when it fails; what its `on-error` wrote is there
 */
export async function apply({
  source,
  task,
  device,
  output,
  progress,
  ...options
}: ApplyOptions): Promise<void> {
  const firmware = await openFirmware(source);
  const cache = new BlockCache(device.fd, {
    endBytes: device.isRegularFile || device.sizeBytes === 0 ? undefined : device.sizeBytes,
    verifyWrites: options.verifyWrites,
  });
  const context = {
    config: firmware.config,
    cache,
    progress,
    deviceBlocks: Math.floor(device.sizeBytes / 512),
    unsafe: options.unsafe,
    info: (text: string) => output.info(text),
  };
  try {
    const chosen = chooseTask(task, context);
    progress.expect(taskUnits(chosen, context));
    await runTask(chosen, firmware, context);
  } catch (error) {
    flushQuietly(cache);
    throw error;
  }
  cache.flush();
  closeSync(device.fd);
  progress.complete();
}

/** Writes the changes of `on-error`. */
function flushQuietly(cache: BlockCache): void {
  try {
    cache.flush();
  } catch {
    // The failure that led here is the one to report.
  }
}
