import type { Config } from "../config/schema.ts";
import type { UpdaterOptions } from "../update/engine.ts";

/** How the configuration has fwup run for an update. */
export function fwupSettings({
  firmware,
  update,
}: Config): Pick<UpdaterOptions, "fwup" | "fwupArgs" | "fwupEnv" | "task" | "stallMs"> {
  return {
    fwup: firmware.fwup,
    fwupArgs: [...(update.verify_written ? ["--verify-writes"] : []), ...firmware.fwup_args],
    fwupEnv: firmware.fwup_env,
    task: firmware.task,
    stallMs: update.stall_s * 1000,
  };
}
