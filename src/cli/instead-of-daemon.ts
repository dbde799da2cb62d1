import { ControlServer } from "../control/server.ts";
import type { Config } from "../config/schema.ts";
import { systemClock } from "../platform/clock.ts";
import { Failure } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { VERSION } from "../version.ts";

const METHODS = ["status", "apply", "mark_valid", "revert", "reboot", "upload", "metrics"];

/**
 * Does what is the daemon's to do while none runs. Holds its control socket meanwhile, so that neither a
 * daemon nor a second command begins to write to the slots as well: fwup takes no lock.
 * @throws Failure when the control socket can't be used; whatever `work` throws
 */
export async function insteadOfDaemon<T>(
  config: Config,
  log: Log,
  command: string,
  work: () => Promise<T>,
): Promise<T> {
  const busy = (): never => {
    throw new Failure("unavailable", `hublink ${command} is at work; try again when it has ended`);
  };
  const server = new ControlServer({
    path: config.state.controlSocket,
    mode: 0o600,
    group: "",
    agentVersion: VERSION,
    clock: systemClock,
    log,
  });
  await server.start(Object.fromEntries(METHODS.map((method) => [method, busy])));
  try {
    return await work();
  } finally {
    await server.stop();
  }
}
