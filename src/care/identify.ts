/**
 * Shows which of many boards this one is, when somebody at the hub asks: through every configured means at once,
 * LED, command and application. One that fails does not keep the others from showing it.
 */
import { Led } from "../board/led.ts";
import type { Config } from "../config/schema.ts";
import type { ControlServer } from "../control/server.ts";
import { failedEnd } from "../platform/command.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { World } from "../platform/world.ts";

export interface IdentifyOptions {
  readonly config: Pick<Config, "identify" | "app">;
  readonly control: Pick<ControlServer, "ask">;
  readonly world: World;
  readonly log: Log;
}

/** A command that shows something may take longer than the LED; one that hangs is ended. */
const COMMAND_SPARE_MS = 60_000;

export class Identify {
  readonly #options: IdentifyOptions;
  readonly #config: Config["identify"];
  readonly #world: World;
  readonly #log: Log;
  readonly #stop = new AbortController();
  #showing: Promise<unknown> | undefined;

  constructor(options: IdentifyOptions) {
    this.#options = options;
    this.#config = options.config.identify;
    this.#world = options.world;
    this.#log = options.log;
  }

  /** Logs it when the LED that is configured can't be used. */
  async start(): Promise<void> {
    if (this.#config.led === "") return;
    try {
      await Led.open(this.#config.led, this.#world);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.#log.error(`identify.led can't be used: ${error.message}`);
    }
  }

  /** Shows it; a second request while it is being shown is ignored. */
  show(): void {
    const { led, command } = this.#config;
    this.#showing ??= Promise.all([
      ...(led === "" ? [] : [this.#logFailure(this.#blink())]),
      ...(command === "" ? [] : [this.#logFailure(this.#run())]),
      this.#logFailure(this.#askApplication()),
    ]).finally(() => (this.#showing = undefined));
  }

  /** Puts the LED back and ends the command. */
  async stop(): Promise<void> {
    this.#stop.abort(new Failure("stopped", "the agent stops"));
    await this.#showing;
  }

  async #blink(): Promise<void> {
    const { durationMs } = this.#config;
    const led = await Led.open(this.#config.led, this.#world);
    this.#log.info("the LED shows which board this is", { led: led.name, seconds: durationMs / 1000 });
    await led.blink(durationMs, this.#stop.signal);
  }

  async #run(): Promise<void> {
    const { command, durationMs } = this.#config;
    const { clock, run } = this.#world;
    const { signal } = this.#stop;
    this.#log.info("identify.command shows which board this is");
    const timeoutMs = durationMs + COMMAND_SPARE_MS;
    const env = { HUBLINK_IDENTIFY_SECONDS: String(durationMs / 1000) };
    const result = await run(command, { clock, timeoutMs, env, signal });
    if (result.exitCode !== 0 && !signal.aborted)
      this.#log.warn(`identify.command ${failedEnd(result, timeoutMs)}`);
  }

  async #askApplication(): Promise<void> {
    const { config, control } = this.#options;
    const options = { timeoutMs: config.app.askTimeoutMs, signal: this.#stop.signal };
    const answer = await control.ask("identify", undefined, options);
    switch (answer.type) {
      case "result":
        this.#log.info("the application shows which board this is");
        break;
      case "error":
        this.#log.warn(`the application can't show which board this is: ${answer.message} (${answer.code})`);
        break;
      case "timeout":
        this.#log.warn("the application does not say whether it shows which board this is");
        break;
      case "no-controller":
        if (this.#config.led === "" && this.#config.command === "")
          this.#log.info(
            "the hub asks which board this is: no LED, no command and no application is there to show it",
          );
        break;
    }
  }

  async #logFailure(showing: Promise<void>): Promise<void> {
    try {
      await showing;
    } catch (error) {
      if (!this.#stop.signal.aborted) this.#log.error(`identify: ${messageOf(error)}`);
    }
  }
}
