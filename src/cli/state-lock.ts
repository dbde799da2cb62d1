/**
 * One hublink for each state folder: the daemon, or a command that does its work. The control socket can't be the
 * lock: between the look whether somebody answers there and the first listening, another one can do the same, and
 * two daemons have been seen to hold it.
 */
import { mkdir } from "node:fs/promises";
import type { Config } from "../config/schema.ts";
import { Failure } from "../platform/failure.ts";
import { lock, type Lock } from "../platform/lock.ts";
import { lockHolder, pidWords } from "../platform/processes.ts";
import { commandLog } from "./config.ts";
import type { CommandContext } from "./terminal.ts";

/** The daemon's: those of all state folders it has had, since a SIGHUP may change the folder. */
export class StateLocks {
  readonly #context: CommandContext;
  readonly #locks = new Map<string, Lock>();

  constructor(context: CommandContext) {
    this.#context = context;
  }

  /** @throws Failure `unavailable` when another daemon runs, or a command that does a daemon's work */
  async hold(config: Config): Promise<void> {
    const { dir, controlSocket } = config.state;
    if (this.#locks.has(dir)) return;
    const locked = await lockState(config, this.#context, async () => {
      const where = `this board${pidWords(await lockHolder(dir))}, at ${controlSocket}`;
      return `another hublink already listens on ${where}; stop it first`;
    });
    this.#locks.set(dir, locked);
  }

  async release(): Promise<void> {
    await Promise.all([...this.#locks.values()].map(async (held) => held.release()));
  }
}

/**
 * The lock of a command that does the work of a daemon that does not run.
 * @throws Failure `unavailable` when a daemon or another such command has it
 */
export async function lockForCommand(config: Config, context: CommandContext): Promise<Lock> {
  return await lockState(config, context, async () => {
    const pid = pidWords(await lockHolder(config.state.dir));
    return `another hublink is at work${pid}; try again when it has ended`;
  });
}

async function lockState(
  config: Config,
  context: CommandContext,
  whenHeld: () => Promise<string>,
): Promise<Lock> {
  const log = commandLog(config, context, "warn");
  const { dir } = config.state;
  // What is wrong with the folder is said by `lock`, and by what writes into it.
  await mkdir(dir, { recursive: true }).catch(() => undefined);
  const locked = await lock(dir, context.world.clock, log);
  if (locked === undefined) throw new Failure("unavailable", await whenHeld());
  return locked;
}
