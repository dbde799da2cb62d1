/**
 * `hublink run`, the daemon: one agent after the other in the same process, one for each configuration. A
 * configuration that can't be used leaves the board with the old one: without an agent nobody could mend it.
 */
import { type Agent, startAgent } from "../agent/agent.ts";
import { noteCrash } from "../agent/errors.ts";
import type { Checked } from "../config/check.ts";
import { messageOf } from "../platform/failure.ts";
import { collectGarbage, Garbage, usedBytes } from "../platform/garbage.ts";
import { checkedConfig, commandLog } from "./config.ts";
import { StateLocks } from "./state-lock.ts";
import type { CommandContext } from "./terminal.ts";

/** `hublink run`: the daemon, until SIGTERM or SIGINT. SIGHUP reads the configuration again. */
export async function run(context: CommandContext): Promise<void> {
  const signals = new Signals();
  const locks = new StateLocks(context);
  const garbage = new Garbage({ clock: context.world.clock, usedBytes, collect: collectGarbage });
  let agent: Agent | undefined;
  let checked: Checked | undefined;
  const onCrash = (error: unknown): void => {
    if (checked === undefined) return;
    const { config } = checked;
    const log = commandLog(config, context, config.log.level).scope("error_reports");
    noteCrash(error, config, context.world, log, agent?.firmwareUuid);
  };
  process.on("uncaughtExceptionMonitor", onCrash);
  try {
    garbage.start();
    checked = await checkedConfig(context);
    agent = await start(checked, context, locks);
    for (;;) {
      const event = await Promise.race([signals.next(), agent.stranded.then(() => "stranded" as const)]);
      if (event === "stop") return;
      const stranded = event === "stranded";
      const next = stranded ? checked : await usableConfig(context, checked, agent, signals);
      if (next === undefined) continue;
      const old = agent;
      agent = undefined;
      await old.stop();
      [agent, checked] = await startOrGoBack(next, checked, context, locks, stranded);
    }
  } catch (error) {
    onCrash(error);
    throw error;
  } finally {
    process.off("uncaughtExceptionMonitor", onCrash);
    await agent?.stop();
    await locks.release();
    garbage.stop();
    signals.end();
  }
}

async function start(
  { config, warnings }: Checked,
  context: CommandContext,
  locks: StateLocks,
  afterStranded = false,
): Promise<Agent> {
  await locks.hold(config);
  const log = commandLog(config, context, config.log.level);
  for (const line of warnings) log.warn(line);
  return await startAgent({ config, world: context.world, log, afterStranded });
}

/** The new configuration, once no update is under way; undefined when it is refused or the daemon stops. */
async function usableConfig(
  context: CommandContext,
  { config }: Checked,
  agent: Agent,
  signals: Signals,
): Promise<Checked | undefined> {
  const log = commandLog(config, context, config.log.level);
  try {
    const next = await checkedConfig(context);
    log.info("the configuration is read anew");
    await Promise.race([agent.settled(), signals.stopped]);
    return signals.stopping ? undefined : next;
  } catch (error) {
    log.error(`the new configuration is refused, the old one stays: ${messageOf(error)}`);
    return undefined;
  }
}

/** Starts the new configuration, or the old one: some mistakes show only at the start, such as a missing key. */
async function startOrGoBack(
  next: Checked,
  old: Checked,
  context: CommandContext,
  locks: StateLocks,
  afterStranded: boolean,
): Promise<[agent: Agent, checked: Checked]> {
  try {
    return [await start(next, context, locks, afterStranded), next];
  } catch (error) {
    const log = commandLog(old.config, context, old.config.log.level);
    log.error(`the new configuration can't be used, back to the old one: ${messageOf(error)}`);
    return [await start(old, context, locks), old];
  }
}

/** SIGTERM, SIGINT and SIGHUP, and a process that stays alive for them. */
class Signals {
  /** Resolves with SIGTERM or SIGINT. */
  readonly stopped: Promise<void>;
  // A handler alone does not keep a process alive, and between two connections nothing else might.
  readonly #alive = setInterval(() => undefined, 2 ** 30);
  #stopping = false;
  #reload = false;
  #wake = (): void => undefined;
  #stop = (): void => undefined;

  constructor() {
    this.stopped = new Promise((resolve) => (this.#stop = resolve));
    process.on("SIGTERM", this.#onStop).on("SIGINT", this.#onStop).on("SIGHUP", this.#onReload);
  }

  get stopping(): boolean {
    return this.#stopping;
  }

  /** The next thing to do. A stop comes before a reload, and several SIGHUPs before this call count once. */
  async next(): Promise<"stop" | "reload"> {
    if (!this.#stopping && !this.#reload) await new Promise<void>((resolve) => (this.#wake = resolve));
    if (this.#stopping) return "stop";
    this.#reload = false;
    return "reload";
  }

  /** Signals have their default effect again. */
  end(): void {
    clearInterval(this.#alive);
    process.off("SIGTERM", this.#onStop).off("SIGINT", this.#onStop).off("SIGHUP", this.#onReload);
  }

  readonly #onStop = (): void => {
    this.#stopping = true;
    this.#stop();
    this.#wake();
  };

  readonly #onReload = (): void => {
    this.#reload = true;
    this.#wake();
  };
}
