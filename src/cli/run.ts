import { type Agent, startAgent } from "../agent/agent.ts";
import type { Checked } from "../config/check.ts";
import { systemClock } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import { checkedConfig, daemonLog } from "./config.ts";
import type { CommandContext } from "./terminal.ts";

/** `hublink run`: the daemon, until SIGTERM or SIGINT; SIGHUP reads the configuration anew. */
export async function run(context: CommandContext): Promise<void> {
  const signals = listenToSignals();
  let agent: Agent | undefined;
  try {
    let checked = await checkedConfig(context);
    agent = await start(checked, context);
    for (;;) {
      const event = await Promise.race([signals.next(), agent.stranded.then(() => "stranded" as const)]);
      if (event === "stop") return;
      const stranded = event === "stranded";
      const next = stranded ? checked : await usableConfig(context, checked, agent, signals);
      if (next === undefined) continue;
      const old = agent;
      agent = undefined;
      await old.stop();
      [agent, checked] = await startEither(next, checked, context, stranded);
    }
  } finally {
    await agent?.stop();
    signals.end();
  }
}

async function start(
  { config, warnings }: Checked,
  context: CommandContext,
  afterStranded = false,
): Promise<Agent> {
  const log = daemonLog(config, context);
  for (const line of warnings) log.warn(line);
  return await startAgent({ config, clock: systemClock, random: Math.random, log, root: "/", afterStranded });
}

/** The new configuration, as soon as no update is disturbed by it; undefined when it is refused. */
async function usableConfig(
  context: CommandContext,
  { config }: Checked,
  agent: Agent,
  signals: Signals,
): Promise<Checked | undefined> {
  const log = daemonLog(config, context);
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

/** Some mistakes show only when it is used, such as a key that is missing. */
async function startEither(
  next: Checked,
  old: Checked,
  context: CommandContext,
  afterStranded: boolean,
): Promise<[agent: Agent, checked: Checked]> {
  try {
    return [await start(next, context, afterStranded), next];
  } catch (error) {
    const log = daemonLog(old.config, context);
    log.error(`the new configuration can't be used, back to the old one: ${messageOf(error)}`);
    return [await start(old, context), old];
  }
}

/** What the daemon is told by signals. */
export interface Signals {
  /** What to do next. To stop comes first, and signals that came meanwhile count once. */
  next(): Promise<"stop" | "reload">;
  /** Resolves with SIGTERM or SIGINT. */
  readonly stopped: Promise<void>;
  readonly stopping: boolean;
  /** Signals do again what they do by default. */
  end(): void;
}

/** Listens to SIGTERM, SIGINT and SIGHUP, and keeps the process alive for them. */
function listenToSignals(): Signals {
  let stopping = false;
  let reload = false;
  let wake = (): void => undefined;
  let stop = (): void => undefined;
  const stopped = new Promise<void>((resolve) => (stop = resolve));
  const onStop = (): void => {
    stopping = true;
    stop();
    wake();
  };
  const onReload = (): void => {
    reload = true;
    wake();
  };
  process.on("SIGTERM", onStop).on("SIGINT", onStop).on("SIGHUP", onReload);
  // A handler alone does not keep a process alive, and between two connections nothing else might.
  const alive = setInterval(() => undefined, 2 ** 30);
  return {
    async next() {
      if (!stopping && !reload) await new Promise<void>((resolve) => (wake = resolve));
      if (stopping) return "stop";
      reload = false;
      return "reload";
    },
    stopped,
    get stopping() {
      return stopping;
    },
    end() {
      clearInterval(alive);
      process.off("SIGTERM", onStop).off("SIGINT", onStop).off("SIGHUP", onReload);
    },
  };
}
