/** Disk faults of a round: full, read-only, or write errors. */
import type { LifeFaults } from "./life-faults.ts";
import type { Random } from "./random.ts";

export interface DiskFaults {
  readonly lifeFaults: LifeFaults;
  readonly hopeless: boolean;
  readonly names: readonly string[];
}

/** About how many times an update writes to the disk image. */
const DISK_WRITES = 30;

/** Draws a disk that is full, read-only, or fails. */
export function drawDiskFaults(random: Random, firmwareBytes: number): DiskFaults {
  switch (random.pick(["full", "read-only", "error", "worn out"] as const)) {
    case "full":
      return {
        lifeFaults: { roomBytes: random.chance(0.3) ? 0 : random.int(0, firmwareBytes) },
        hopeless: false,
        names: ["full state folder"],
      };
    case "read-only":
      return { lifeFaults: { readOnly: true }, hopeless: false, names: ["read-only state folder"] };
    case "error":
      return {
        lifeFaults: { diskError: { at: random.int(1, DISK_WRITES), forEver: false } },
        hopeless: false,
        names: ["I/O error of the disk"],
      };
    case "worn out":
      return {
        lifeFaults: { diskError: { at: random.int(1, DISK_WRITES / 2), forEver: true } },
        hopeless: true,
        names: ["disk that can't be written any more"],
      };
  }
}
