/** What the application on the board is asked, and how its answers are understood ([app]). */
import * as v from "valibot";
import type { FirmwareSummary } from "../control/messages.ts";
import type { ControllerAnswer } from "../control/questions.ts";
import type { ControllerMethod, ControlServer } from "../control/server.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { Decision } from "./engine.ts";
import { SOON_MS, type UpdateQuestion } from "./question.ts";

type Fallback = "apply" | "ignore" | "reschedule";

/** `[app]`, as far as questions go. */
export interface AppConfig {
  readonly askTimeoutMs: number;
  readonly onTimeout: Fallback;
  readonly onNoController: Fallback;
}

export interface ApplicationOptions {
  readonly config: AppConfig;
  readonly ask: ControlServer["ask"];
  readonly log: Log;
}

export type RebootAnswer =
  | { readonly action: "reboot" }
  | { readonly action: "defer"; readonly delayMs: number; readonly reason: string };

/** The application that is the controller on the control socket. */
export interface Application {
  /** @throws the signal's reason */
  mayUpdate(question: UpdateQuestion, signal: AbortSignal): Promise<Decision>;
  /** @throws the signal's reason */
  mayReboot(firmware: FirmwareSummary, signal: AbortSignal): Promise<RebootAnswer>;
}

const MAX_DELAY_MS = 7 * 24 * 60 * 60_000;
const MAX_REASON_CHARACTERS = 200;
/** The hub sends a rescheduled update again when it is joined anew, so not each second. */
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

/** An answer that was understood, or what counts as one and why. */
type Understood<T> =
  { readonly said: T } | { readonly said: undefined; readonly how: Fallback; readonly why: string };

export function createApplication({ config, ask, log }: ApplicationOptions): Application {
  const timeoutMs = config.askTimeoutMs;

  const put = async <T>(
    method: ControllerMethod,
    params: unknown,
    schema: v.GenericSchema<unknown, T>,
    signal: AbortSignal,
  ): Promise<Understood<T>> => {
    const answer = await ask(method, params, { timeoutMs, signal });
    const parsed = answer.type === "result" ? v.safeParse(schema, answer.result) : undefined;
    if (parsed?.success === true) return { said: parsed.output };
    const how = answer.type === "no-controller" ? config.onNoController : config.onTimeout;
    const why = lackOf(answer, config.askTimeoutMs);
    log.warn(`${method}: ${why}; taken as ${how}`);
    return { said: undefined, how, why };
  };

  return {
    async mayUpdate({ firmware, size, deployment_id }, signal) {
      const params = { firmware, size, deployment_id };
      const answer = await put("update_available", params, UpdateAnswer, signal);
      if (answer.said === undefined) return decisionOf(answer.how, SOON_MS, answer.why);
      const { said } = answer;
      return said.action === "reschedule"
        ? { action: said.action, delayMs: said.delay_ms, reason: said.reason }
        : said;
    },
    async mayReboot(firmware, signal) {
      const answer = await put("reboot_request", { firmware }, RebootAnswer, signal);
      if (answer.said === undefined) {
        if (answer.how === "apply") return { action: "reboot" };
        return { action: "defer", delayMs: SOON_MS, reason: answer.why };
      }
      const { said } = answer;
      return said.action === "defer"
        ? { action: said.action, delayMs: said.delay_ms, reason: said.reason }
        : said;
    },
  };
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

/** Why there is no answer to go by. */
function lackOf(answer: ControllerAnswer, timeoutMs: number): string {
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
