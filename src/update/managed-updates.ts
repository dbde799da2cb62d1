/**
 * Asks the hub for updates where the board chooses the moment: in the mode `device_managed`, when a window opens
 * (`update.window`), or each hour where only `update.policy_command` decides. Without either, nobody but the
 * application and people at the board ask. The hub is asked for an update only when the board's rules and its policy
 * command want it: a grant takes a place in the hub's rollout.
 */
import type { Config } from "../config/schema.ts";
import type { HubUpdates } from "./hub-updates.ts";
import { type Cancel } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { World } from "../platform/world.ts";
import type { Approval } from "./approval.ts";
import type { Updater } from "./updater.ts";
import { untilWindowMs } from "./windows.ts";

export interface ManagedUpdatesOptions {
  readonly config: Pick<Config["update"], "policyCommand" | "window">;
  readonly hubUpdates: Pick<HubUpdates, "check" | "mode" | "request">;
  readonly approval: Pick<Approval, "mayAsk">;
  readonly updater: Pick<Updater, "status">;
  /** Has the wall-clock time as the hub has it, ms since 1970. */
  readonly link: { hubTimeMs(): number };
  readonly world: World;
  readonly log: Log;
}

/** New firmware may come while a window is open. */
const AGAIN_MS = 60 * 60_000;

export class ManagedUpdates {
  readonly #options: ManagedUpdatesOptions;
  readonly #end = new AbortController();
  #cancel: Cancel | undefined;
  #asking: Promise<void> | undefined;

  constructor(options: ManagedUpdatesOptions) {
    this.#options = options;
  }

  /** The hub said who chooses the moment; it says so at each join, too. */
  modeChanged(): void {
    const { config, hubUpdates } = this.#options;
    const decides = config.window.length > 0 || config.policyCommand !== "";
    if (!decides || hubUpdates.mode?.mode !== "device_managed") this.#disarm();
    else if (this.#cancel === undefined && this.#asking === undefined) this.#arm(this.#untilWindowMs());
  }

  async stop(): Promise<void> {
    this.#end.abort(new Error("the agent stops"));
    this.#disarm();
    await this.#asking;
  }

  #untilWindowMs(): number {
    const { config, link, world } = this.#options;
    return untilWindowMs(config.window, link.hubTimeMs(), world.random());
  }

  #disarm(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #arm(delayMs: number): void {
    this.#disarm();
    if (this.#end.signal.aborted) return;
    this.#cancel = this.#options.world.clock.after(delayMs, () => {
      this.#cancel = undefined;
      const waitMs = this.#untilWindowMs();
      if (waitMs > 0) {
        this.#arm(waitMs);
        return;
      }
      this.#asking = this.#ask().finally(() => {
        this.#asking = undefined;
        if (this.#options.hubUpdates.mode?.mode === "device_managed") this.#arm(AGAIN_MS);
      });
    });
  }

  /** Never rejects. */
  async #ask(): Promise<void> {
    const { approval, hubUpdates, log, updater } = this.#options;
    const { signal } = this.#end;
    const { held, state } = updater.status;
    if (state !== "idle" || held !== undefined) return;
    try {
      const { available, firmware_meta: announced } = await hubUpdates.check();
      if (!available) return;
      const offer = {
        origin: "hub",
        announced,
        sizeBytes: null,
        deploymentId: null,
      } as const;
      const decision = await approval.mayAsk(offer, signal);
      if (decision.action !== "apply") {
        log.info(`an update is available, and not asked for: ${decision.reason}`, { uuid: announced.uuid });
        return;
      }
      const answer = await hubUpdates.request();
      if (!answer.granted) log.info(`the hub does not give the update now: ${answer.reason}`);
    } catch (error) {
      if (!signal.aborted) log.warn(`asking for an update: ${messageOf(error)}`);
    }
  }
}
