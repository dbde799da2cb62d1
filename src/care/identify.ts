import { openLed } from "../board/led.ts";
import type { Clock } from "../platform/clock.ts";
import { failedEnd, type runCommand } from "../platform/command.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { ControlServer } from "../control/server.ts";

export interface IdentifyOptions {
  /** `[identify]` */
  readonly config: { readonly led: string; readonly command: string; readonly durationMs: number };
  readonly ask: ControlServer["ask"];
  /** How long the application has to answer. */
  readonly timeoutMs: number;
  /** The root folder, `/` on a board. */
  readonly root: string;
  readonly clock: Clock;
  readonly runCommand: typeof runCommand;
  readonly log: Log;
}

/** Shows which of many boards this one is: by an LED, by a command, by the application, by all there are. */
export interface Identify {
  /** Says in the log what is configured and can't be used. */
  start(): Promise<void>;
  /** The hub asks for it. While it is being shown, nothing begins anew. */
  show(): void;
  /** Puts the LED back and ends the command. */
  stop(): Promise<void>;
}

/** A command that shows something may take longer than the LED; one that hangs ends. */
const COMMAND_SPARE_MS = 60_000;

export function createIdentify(options: IdentifyOptions): Identify {
  const { config, clock, log } = options;
  const showMs = config.durationMs;
  const stopping = new AbortController();
  const { signal } = stopping;
  let showing: Promise<unknown> | undefined;

  const blink = async (): Promise<void> => {
    const led = await openLed(config.led, options);
    log.info("the LED shows which board this is", { led: led.name, seconds: config.durationMs / 1000 });
    await led.blink(showMs, signal);
  };

  const run = async (): Promise<void> => {
    log.info("identify.command shows which board this is");
    const timeoutMs = showMs + COMMAND_SPARE_MS;
    const result = await options.runCommand(config.command, {
      clock,
      timeoutMs,
      env: { HUBLINK_IDENTIFY_SECONDS: String(config.durationMs / 1000) },
      signal,
    });
    if (result.exitCode !== 0 && !signal.aborted)
      log.warn(`identify.command ${failedEnd(result, timeoutMs)}`);
  };

  const askApplication = async (): Promise<void> => {
    const answer = await options.ask("identify", undefined, { timeoutMs: options.timeoutMs, signal });
    switch (answer.type) {
      case "result":
        log.info("the application shows which board this is");
        break;
      case "error":
        log.warn(`the application can't show which board this is: ${answer.message} (${answer.code})`);
        break;
      case "timeout":
        log.warn("the application does not say whether it shows which board this is");
        break;
      case "no-controller":
        if (config.led === "" && config.command === "")
          log.info(
            "the hub asks which board this is: no LED, no command and no application is there to show it",
          );
        break;
    }
  };

  const way = async (show: () => Promise<void>): Promise<void> => {
    try {
      await show();
    } catch (error) {
      if (!signal.aborted) log.error(`identify: ${messageOf(error)}`);
    }
  };

  return {
    async start() {
      if (config.led === "") return;
      try {
        await openLed(config.led, options);
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        log.error(`identify.led can't be used: ${error.message}`);
      }
    },
    show() {
      showing ??= Promise.all([
        ...(config.led === "" ? [] : [way(blink)]),
        ...(config.command === "" ? [] : [way(run)]),
        way(askApplication),
      ]).finally(() => (showing = undefined));
    },
    async stop() {
      stopping.abort(new Error("the agent stops"));
      await showing;
    },
  };
}
