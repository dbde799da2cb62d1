/**
 * The control socket's lines: newline-delimited JSON, the protocol of nerves-hub-link-agent
 * (its docs/ipc.md, api 1), so that applications written for that agent work here unchanged.
 */
import * as v from "valibot";
import { COMPONENT_NAME, COMPONENT_TEXT, METRIC_NAME } from "../config/kinds.ts";
import { Frame } from "../platform/defects.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import { type FailureCode, type FailureKind, FAILURES } from "../platform/failures.ts";
import { FirmwareSummary } from "./agent-status.ts";

export const CONTROL_API = 1;
/** A longer line ends the connection. */
export const MAX_LINE_BYTES = 64 * 1024;
/** The id of the response that refuses a hello. */
export const HELLO_ID = "hello";

export type ControlEvent =
  | "connection"
  | "update_progress"
  | "update_installed"
  | "update_failed"
  | "reboot_pending"
  /** Ours: why a download waits; `reason` is null once bytes come again. */
  | "update_waiting"
  /** Ours: an update of the hub was ignored or put off. */
  | "update_refused"
  /** Ours: who starts updates; the hub says so at each join. */
  | "update_mode"
  /** Ours: how far `upload` is. */
  | "upload_progress";

const Subscriptions = v.array(v.string());

export const Hello = v.object({
  type: v.literal("hello"),
  name: v.string(),
  role: v.optional(v.picklist(["observer", "controller"]), "observer"),
  api: v.number(),
  subscribe: v.optional(Subscriptions, []),
});
export type Hello = v.InferOutput<typeof Hello>;

const Request = v.object({
  type: v.literal("request"),
  id: v.string(),
  method: v.string(),
  params: v.optional(v.unknown()),
});
export type Request = v.InferOutput<typeof Request>;

const ErrorBody = v.object({
  /** One of api 1's words, by which applications tell kinds of errors apart. */
  code: v.string(),
  message: v.string(),
  /** Ours: the code of the failure, as docs/errors.md lists them. */
  failure: v.optional(v.string()),
});
type ErrorBody = v.InferOutput<typeof ErrorBody>;

const Response = v.object({
  type: v.literal("response"),
  id: v.string(),
  result: v.optional(v.unknown()),
  error: v.optional(ErrorBody),
});
export type Response = v.InferOutput<typeof Response>;

/** The lines of an application after its welcome: requests, and answers to the agent's questions. */
export const FromApplication = v.variant("type", [Request, Response]);

/** A question of the agent to the controller. Its ids are independent of those of requests to the agent. */
export interface Question {
  readonly type: "request";
  readonly id: string;
  readonly method: string;
  readonly params: unknown;
}

export const SubscribeParams = v.object({ events: Subscriptions });

/** The lines of the agent, except its questions to the controller. */
export const FromAgent = v.variant("type", [
  v.object({
    type: v.literal("welcome"),
    agent_version: v.string(),
    api: v.number(),
    role: v.string(),
    update_tool: v.string(),
  }),
  Response,
  v.object({ type: v.literal("event"), event: v.string(), payload: v.unknown() }),
]);
export type FromAgent = v.InferOutput<typeof FromAgent>;

/** A failure that crosses the socket under a word of api 1 that does not follow from its kind. */
export class ControlFailure extends Failure {
  readonly word: string;

  constructor(word: string, code: FailureCode, message: string) {
    super(code, message);
    this.name = "ControlFailure";
    this.word = word;
  }
}

/** Failures whose code is a word of api 1 itself. */
const WORDS: readonly FailureCode[] = ["not_connected", "unknown_method", "unsupported", "controller_taken"];

/** Those of them that say what is not there: a command that meets one ends as with `unavailable`. */
const UNAVAILABLE = WORDS.filter((code) => FAILURES[code].kind === "unavailable");

/** The word of api 1 for each kind of Failure. */
const KIND_WORDS = {
  usage: "usage",
  "no-input": "no_input",
  unavailable: "unavailable",
  io: "io",
  permission: "permission",
  config: "config",
  other: "failed",
} as const satisfies Readonly<Record<FailureKind, FailureCode>>;

/** The error of a response to a request that ended with `error`. */
export function errorBody(error: unknown): ErrorBody {
  const message = messageOf(error);
  return error instanceof Failure
    ? { code: wordOf(error), message, failure: error.code }
    : { code: "failed", message };
}

function wordOf(failure: Failure): string {
  if (failure instanceof ControlFailure) return failure.word;
  return WORDS.includes(failure.code) ? failure.code : KIND_WORDS[failure.kind];
}

/**
 * The failure that an error of a response stands for. A failure of another kind than the word's would
 * change the exit code of the command, so the word's own stands for it.
 */
export function failureOf({ code: word, message, failure }: ErrorBody): Failure {
  const code = [...Object.values(KIND_WORDS), ...UNAVAILABLE].find((known) => known === word) ?? "failed";
  const exact = isFailureCode(failure) && FAILURES[failure].kind === FAILURES[code].kind;
  return new Failure(exact ? failure : code, message);
}

function isFailureCode(text: string | undefined): text is FailureCode {
  return text !== undefined && Object.hasOwn(FAILURES, text);
}

/** `metrics`' parameters. */
export const MetricsParams = v.object({ values: v.record(v.string(), v.number()) });

const componentName = v.pipe(v.string(), v.regex(COMPONENT_NAME));
const componentText = v.pipe(v.string(), v.regex(COMPONENT_TEXT));
const named = {
  identifier: componentName,
  label: v.optional(v.union([v.literal(""), componentText]), ""),
};
const metricName = v.pipe(v.string(), v.regex(METRIC_NAME));

/** `components`' parameters: all that an application has, in place of what it declared before. */
export const ComponentsParams = v.object({
  components: v.pipe(
    v.array(
      v.object({
        ...named,
        metrics: v.optional(v.pipe(v.array(metricName), v.maxLength(20)), []),
        actions: v.optional(
          v.pipe(v.array(v.object({ ...named, confirm: v.optional(v.boolean(), false) })), v.maxLength(16)),
          [],
        ),
        modes: v.optional(
          v.pipe(
            v.array(
              v.object({
                ...named,
                values: v.pipe(v.array(componentText), v.minLength(1), v.maxLength(32)),
                /** The one that is set now. */
                value: v.nullish(componentText),
              }),
            ),
            v.maxLength(16),
          ),
          [],
        ),
      }),
    ),
    v.maxLength(32),
  ),
});
export type ComponentsParams = v.InferOutput<typeof ComponentsParams>;

const anyText = v.optional(v.string());

/** `report_error`'s parameters; what is too long is cut to the hub's limits. */
export const ReportErrorParams = v.object({
  reason: v.pipe(v.string(), v.nonEmpty()),
  kind: v.optional(v.string(), "error"),
  message: anyText,
  /** By which the hub groups reports, in place of its own way. */
  fingerprint: anyText,
  /** The innermost first. */
  frames: v.optional(v.array(Frame)),
  context: v.optional(v.record(v.string(), v.string())),
});

/** The answer of an application to `component_action` and `component_mode`. */
export const ComponentAnswer = v.nullish(v.object({ output: v.nullish(v.string()) }));

/** `alarm_raise`'s parameters. */
export const AlarmRaiseParams = v.object({
  alarm: v.string(),
  description: v.optional(v.pipe(v.string(), v.maxLength(256)), ""),
});

/** `alarm_clear`'s parameters. */
export const AlarmClearParams = v.object({ alarm: v.string() });

/** `apply`'s parameters: an absolute path, an http(s) URL, or `unix:PATH` of a socket that sends the file. */
export const ApplyParams = v.object({
  source: v.pipe(v.string(), v.nonEmpty()),
  /** Install firmware for another product or board too. */
  force: v.optional(v.boolean(), false),
});

/** `update_mode`'s parameters: none asks which mode holds. */
export const UpdateModeParams = v.nullish(
  v.object({ mode: v.optional(v.picklist(["automatic", "device_managed"])) }),
);

/** `update_request`'s parameters. */
export const UpdateRequestParams = v.nullish(
  v.object({
    /** Answer when the update has ended, and not when the hub has granted it. */
    wait: v.optional(v.boolean(), false),
  }),
);

/** The answer to `update_check`. */
export const UpdateChecked = v.object({ available: v.boolean(), firmware: v.nullable(FirmwareSummary) });

/** The answer to `update_request`: the firmware that comes, or why none does and when to ask again. */
export const UpdateRequested = v.variant("granted", [
  v.object({ granted: v.literal(true), firmware: FirmwareSummary }),
  v.object({ granted: v.literal(false), reason: v.string(), delay_s: v.nullable(v.number()) }),
]);

/** `upload`'s parameters: an absolute path. */
export const UploadParams = v.object({ path: v.pipe(v.string(), v.startsWith("/")) });

/** The answer to `upload`. */
export const Uploaded = v.object({ name: v.string(), size: v.number() });

/** The payload of the event `update_waiting`. */
export const WaitingPayload = v.object({
  reason: v.nullable(v.string()),
  next_attempt_s: v.nullable(v.number()),
});

/** The payload of the events `update_progress` and `upload_progress`; the last two fields are ours. */
export const ProgressPayload = v.object({
  stage: v.string(),
  percent: v.number(),
  bytes: v.optional(v.number()),
  total_bytes: v.optional(v.nullable(v.number())),
});
