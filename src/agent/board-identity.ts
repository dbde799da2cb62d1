import { serialNumber } from "../board/serial-number.ts";
import type { Config } from "../config/schema.ts";
import { readEnvironment } from "../firmware/uboot-environment.ts";
import { loadIdentity } from "../identity/load.ts";
import type { Identity, IdentityDeps } from "../identity/identity.ts";
import type { Clock } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";

/**
 * Loads the identity that the configuration names, with what this board knows of itself.
 * @param root the root folder, `/` on a board
 * @throws Failure that names the file, variable or setting at fault
 */
export async function boardIdentity(config: Config, root: string, clock: Clock, log: Log): Promise<Identity> {
  return await loadIdentity(config.identity, identityDeps(config, root, clock, log));
}

/** What this board knows of itself, for its identity. */
export function identityDeps(config: Config, root: string, clock: Clock, log: Log): IdentityDeps {
  return {
    clock,
    log,
    root,
    takeVariable,
    serialNumber: async () => serialNumber(root, clock),
    ubootVariables: async () => readEnvironment(config.firmware.uboot_env_config),
  };
}

const taken = new Map<string, string>();

function takeVariable(name: string): string | undefined {
  const value = process.env[name];
  if (value !== undefined) taken.set(name, value);
  Reflect.deleteProperty(process.env, name);
  return taken.get(name);
}
