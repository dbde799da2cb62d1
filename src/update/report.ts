/**
 * Reports how updates go: to the hub about its own offers, to the control socket about all. The hub hears
 * `received` while an offer is decided, `started` when its download begins, progress, and `completed`,
 * `failed`, `ignored` or `rescheduled` at the end. Of an update that waits on the board (held-offer.ts) it hears
 * once. An update that the agent's stop ended has not failed, and nobody hears of its end: the next agent goes on with
 * it.
 */
import { type AgentStatus, summaryOf } from "../control/agent-status.ts";
import type { ControlServer } from "../control/server.ts";
import type { UpdateStatus } from "../hub/device-messages.ts";
import type { DeviceTopic } from "../hub/device-topic.ts";
import type { PutOffOutcome } from "./held-offer.ts";
import type { Offer } from "./offers.ts";
import type { Failed, NotInstalled, Outcome } from "./outcome.ts";
import type { Updater } from "./updater.ts";

type LastUpdate = NonNullable<AgentStatus["last_update"]>;

/** Listens to the updater from its construction on. */
export class UpdateReport {
  readonly #updater: Updater;
  readonly #hub: Pick<DeviceTopic, "reportProgress" | "reportStatus">;
  readonly #control: Pick<ControlServer, "publish">;
  #last: AgentStatus["last_update"] = null;
  /** The update of which the hub has heard that it waits on the board. */
  #toldHeld: Offer["announced"]["uuid"];

  constructor(
    updater: Updater,
    hub: Pick<DeviceTopic, "reportProgress" | "reportStatus">,
    control: Pick<ControlServer, "publish">,
  ) {
    this.#updater = updater;
    this.#hub = hub;
    this.#control = control;
    updater.on("received", (offer) => {
      this.#note(offer, { status: "received" });
      this.#report(offer, { status: "received" });
    });
    updater.on("started", (offer, name) => {
      this.#note(offer, { status: "started" });
      this.#report(offer, {
        status: "started",
        ...(name !== undefined && { downloader_network_interface: name }),
      });
    });
    updater.on("progress", (offer, { stage, percent, bytes }) => {
      control.publish("update_progress", { stage, percent, bytes, total_bytes: offer.sizeBytes });
      if (offer.origin === "hub") hub.reportProgress(percent, stage);
    });
    // Without this answer the hub would wait for one, and keep others of the group waiting.
    updater.on("installedAlready", (offer) => this.#report(offer, { status: "completed" }));
    updater.on("waiting", (_, wait) => {
      const seconds = wait === undefined ? null : Math.round(wait.delayMs / 1000);
      control.publish("update_waiting", { reason: wait?.reason ?? null, next_attempt_s: seconds });
    });
    updater.on("held", (offer, outcome) => this.#noteHeld(offer, outcome));
    updater.on("ended", (offer, outcome) => this.#end(offer, outcome));
  }

  /** The update that was offered last, for `hublink status`. */
  get last(): AgentStatus["last_update"] {
    return this.#last;
  }

  #noteHeld(offer: Offer, outcome: PutOffOutcome): void {
    const { uuid } = offer.announced;
    this.#note(offer, { status: outcome.result, reason: outcome.reason });
    if (this.#toldHeld !== uuid) this.#report(offer, statusOf(outcome));
    this.#toldHeld = uuid;
    this.#publishRefusal(outcome);
  }

  #end(offer: Offer, outcome: Outcome): void {
    this.#toldHeld = undefined;
    const installed = outcome.result === "installed" ? outcome.firmware : undefined;
    const failure = outcome.result === "failed" ? outcome.failure : null;
    this.#note(offer, {
      status: outcome.result,
      ...(outcome.result === "installed" ? { uuid: outcome.firmware.uuid } : { reason: outcome.reason }),
      failure,
    });
    this.#report(offer, statusOf(outcome));
    if (this.#updater.stopping) return;
    if (installed !== undefined) {
      this.#control.publish("update_installed", { firmware: summaryOf(installed) });
    } else if (outcome.result === "failed") {
      this.#control.publish("update_failed", { reason: outcome.reason, failure });
    } else if (outcome.result !== "installed") {
      this.#publishRefusal(outcome);
    }
  }

  #publishRefusal(outcome: Exclude<NotInstalled, Failed>): void {
    const { result, reason } = outcome;
    const delay_s = outcome.result === "rescheduled" ? Math.round(outcome.delayMs / 1000) : null;
    this.#control.publish("update_refused", { result, reason, delay_s });
  }

  #report(offer: Offer, status: UpdateStatus): void {
    if (offer.origin !== "hub" || this.#updater.stopping) return;
    this.#hub.reportStatus(offer.announced.uuid ?? null, status);
  }

  #note({ announced }: Offer, news: { readonly status: string } & Partial<LastUpdate>): void {
    this.#last = { uuid: announced.uuid ?? "", reason: null, failure: null, ...news };
  }
}

function statusOf(outcome: Outcome): UpdateStatus {
  switch (outcome.result) {
    case "installed":
      return { status: "completed" };
    case "rescheduled":
      return { status: "rescheduled", delay_for: Math.round(outcome.delayMs), reason: outcome.reason };
    case "failed":
    case "ignored":
      return { status: outcome.result, reason: outcome.reason };
  }
}
