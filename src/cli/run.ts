import { startAgent, type Agent } from "../agent/agent.ts";
import type { Config } from "../config/schema.ts";
import { notBuiltYet } from "../config/not-built-yet.ts";
import { systemClock } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import { commandLog, readConfig } from "./config.ts";
import type { CommandContext } from "./terminal.ts";

/** `hublink run`: the daemon, until SIGTERM or SIGINT; SIGHUP reads the configuration anew. */
export async function run(context: CommandContext): Promise<void> {
  let config = await readConfig(context);
  let agent = await start(config, context);

  /** Signals in the order they came, one after the other. */
  const signals: ("stop" | "reload")[] = [];
  let wake = (): void => undefined;
  const onSignal = (signal: "stop" | "reload") => (): void => {
    signals.push(signal);
    wake();
  };
  const onStop = onSignal("stop");
  const onReload = onSignal("reload");
  process.on("SIGTERM", onStop).on("SIGINT", onStop).on("SIGHUP", onReload);
  // A signal handler alone does not keep a process alive, and between two connections nothing else might.
  const alive = setInterval(() => undefined, 2 ** 30);
  try {
    for (;;) {
      const signal = signals.shift();
      if (signal === undefined) {
        await new Promise<void>((resolve) => (wake = resolve));
      } else if (signal === "stop") {
        break;
      } else {
        [agent, config] = await reload(agent, config, context);
      }
    }
  } finally {
    clearInterval(alive);
    process.off("SIGTERM", onStop).off("SIGINT", onStop).off("SIGHUP", onReload);
    await agent.stop();
  }
}

async function start(config: Config, context: CommandContext): Promise<Agent> {
  const log = commandLog(config, context);
  for (const line of notBuiltYet(config)) log.warn(line);
  return await startAgent({ config, clock: systemClock, random: Math.random, log, root: "/" });
}

/** A configuration that can't be used is refused, and the old one stays. */
async function reload(agent: Agent, config: Config, context: CommandContext): Promise<[Agent, Config]> {
  const log = commandLog(config, context);
  let next: Config;
  try {
    next = await readConfig(context);
  } catch (error) {
    log.error(`the new configuration is refused: ${messageOf(error)}`);
    return [agent, config];
  }
  log.info("the configuration is read anew");
  await agent.settled();
  await agent.stop();
  try {
    return [await start(next, context), next];
  } catch (error) {
    log.error(`the new configuration can't be used, back to the old one: ${messageOf(error)}`);
    return [await start(config, context), config];
  }
}
