/**
 * The questions to the application on the board, whether to update and whether to reboot ([app]). Its answers come
 * from outside: delays are bounded, and an invalid or missing answer counts as the configuration says. It learns the
 * same about an update as the policy command does, but not the URL: that is signed, and whoever has it can download
 * the firmware.
 */
import * as v from "valibot";
import type { Config } from "../config/schema.ts";
import { type FirmwareSummary, summaryOf } from "../control/agent-status.ts";
import type { ControllerAnswer } from "../control/questions.ts";
import type { ControllerMethod, ControlServer } from "../control/server.ts";
import type { RunningFirmware } from "../firmware/slots.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { Announcement, Decision } from "./decide.ts";
import { SOON_MS } from "./outcome.ts";

type Fallback = Config["app"]["onTimeout"];

export type RebootAnswer =
  | { readonly action: "reboot" }
  | { readonly action: "defer"; readonly delayMs: number; readonly reason: string };

const MAX_DELAY_MS = 7 * 24 * 60 * 60_000;
const MAX_REASON_CHARACTERS = 200;
/** The agent joins the hub again for a rescheduled update, which should not happen every second. */
const MIN_UPDATE_DELAY_MS = 60_000;
const MIN_REBOOT_DELAY_MS = 1000;

const delay = (minMs: number) =>
  v.pipe(
    v.number(),
    v.transform((ms) => Math.round(Math.min(Math.max(ms, minMs), MAX_DELAY_MS))),
  );
const reason = v.pipe(
  v.nullish(v.string(), ""),
  v.transform((text) => text.slice(0, MAX_REASON_CHARACTERS) || "the application says so"),
);

const UpdateAnswer = v.variant("action", [
  v.object({ action: v.literal("apply") }),
  v.object({ action: v.literal("ignore"), reason }),
  v.object({ action: v.literal("reschedule"), delay_ms: delay(MIN_UPDATE_DELAY_MS), reason }),
]);
const RebootAnswer = v.variant("action", [
  v.object({ action: v.literal("reboot") }),
  v.object({ action: v.literal("defer"), delay_ms: delay(MIN_REBOOT_DELAY_MS), reason }),
]);

/** A valid answer, or what the configuration has instead of one, and why there is none. */
type Answer<T> =
  { readonly valid: T } | { readonly valid: undefined; readonly fallback: Fallback; readonly why: string };

/** The application that is the controller on the control socket. */
export class Application {
  readonly #config: Config["app"];
  readonly #control: Pick<ControlServer, "ask">;
  readonly #log: Log;

  constructor(config: Config["app"], control: Pick<ControlServer, "ask">, log: Log) {
    this.#config = config;
    this.#control = control;
    this.#log = log;
  }

  /** @throws the signal's reason */
  async mayUpdate({ firmware, size, deployment_id }: UpdateQuestion, signal: AbortSignal): Promise<Decision> {
    const params = { firmware, size, deployment_id };
    const answer = await this.#ask("update_available", params, UpdateAnswer, signal);
    if (answer.valid === undefined) return decisionOf(answer.fallback, SOON_MS, answer.why);
    const { valid } = answer;
    return valid.action === "reschedule"
      ? { action: valid.action, delayMs: valid.delay_ms, reason: valid.reason }
      : valid;
  }

  /** @throws the signal's reason */
  async mayReboot(firmware: FirmwareSummary, signal: AbortSignal): Promise<RebootAnswer> {
    const answer = await this.#ask("reboot_request", { firmware }, RebootAnswer, signal);
    if (answer.valid === undefined) {
      if (answer.fallback === "apply") return { action: "reboot" };
      return { action: "defer", delayMs: SOON_MS, reason: answer.why };
    }
    const { valid } = answer;
    return valid.action === "defer"
      ? { action: valid.action, delayMs: valid.delay_ms, reason: valid.reason }
      : valid;
  }

  async #ask<T>(
    method: ControllerMethod,
    params: unknown,
    schema: v.GenericSchema<unknown, T>,
    signal: AbortSignal,
  ): Promise<Answer<T>> {
    const { askTimeoutMs: timeoutMs, onNoController, onTimeout } = this.#config;
    const answer = await this.#control.ask(method, params, { timeoutMs, signal });
    const parsed = answer.type === "result" ? v.safeParse(schema, answer.result) : undefined;
    if (parsed?.success === true) return { valid: parsed.output };
    const fallback = answer.type === "no-controller" ? onNoController : onTimeout;
    const why = problemOf(answer, timeoutMs);
    this.#log.warn(`${method}: ${why}; taken as ${fallback}`);
    return { valid: undefined, fallback, why };
  }
}

function decisionOf(action: Fallback, delayMs: number, reason: string): Decision {
  switch (action) {
    case "apply":
      return { action };
    case "ignore":
      return { action, reason };
    case "reschedule":
      return { action, delayMs, reason };
  }
}

/** Why there is no valid answer. */
function problemOf(answer: ControllerAnswer, timeoutMs: number): string {
  switch (answer.type) {
    case "no-controller":
      return "no application is there to answer";
    case "timeout":
      return `the application gave no answer in ${timeoutMs / 1000} s`;
    case "error":
      return `the application answered with an error: ${messageOf(answer.message)}`;
    case "result":
      return "the application gave an answer that can't be understood";
  }
}

/** The standard input of the policy command. */
export interface UpdateQuestion {
  readonly firmware: FirmwareSummary;
  /** Bytes; null when the hub does not say. */
  readonly size: number | null;
  readonly deployment_id: number | string | null;
  /** The firmware that runs now; null when it is not known. */
  readonly running: FirmwareSummary | null;
}

export function updateQuestion(offer: Announcement, running: RunningFirmware | undefined): UpdateQuestion {
  const { uuid, version, product, platform, architecture } = offer.announced;
  return {
    firmware: summaryOf({
      uuid: uuid ?? "",
      version: version ?? "",
      product: product ?? "",
      platform: platform ?? "",
      architecture: architecture ?? "",
    }),
    size: offer.sizeBytes,
    deployment_id: offer.deploymentId,
    running: running === undefined ? null : summaryOf(running),
  };
}
