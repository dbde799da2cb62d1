/**
 * The messages of topic `device`, as NervesHub speaks it today: parsed once here and trusted inside. What the
 * board sends is typed as closely, because the server's channel crashes on a status word it does not know.
 */
import * as v from "valibot";
import { shortened } from "../platform/text.ts";

/**
 * Longest texts, in characters. All of them are kept, logged, sent back or shown: a uuid of 900 KB would be written to
 * the journal at each step of its update.
 */
const MAX_UUID = 64;
const MAX_TEXT = 256;
/** Signed URLs carry whole session tokens; HTTP servers take about this much. */
const MAX_URL = 8192;

const bounded = (maxLength: number) =>
  v.pipe(v.string(), v.maxLength(maxLength, `is longer than ${maxLength} characters`));

const Uuid = v.pipe(bounded(MAX_UUID), v.nonEmpty("is empty"));
/** A value that identifies a firmware, which the hub may leave out or send as null. Half of one would be another one. */
const Text = v.nullish(bounded(MAX_TEXT), null);
/** A value that people read, and nothing is compared with; it may well be long. */
const Prose = v.nullish(
  v.pipe(
    v.string(),
    v.transform((text) => shortened(text, MAX_TEXT)),
  ),
  null,
);

/** The firmware that an update installs; of a delta, the firmware it results in. */
const FirmwareMeta = v.object({
  uuid: Uuid,
  version: Text,
  product: Text,
  platform: Text,
  architecture: Text,
  author: Prose,
  description: Prose,
  vcs_identifier: Prose,
  misc: Prose,
});

const Sha256Hex = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/i, "not a SHA-256 in hex"), v.toLowerCase());

const HttpUrl = v.pipe(
  bounded(MAX_URL),
  v.nonEmpty("is empty"),
  v.check((text) => URL.canParse(text) && /^https?:$/.test(new URL(text).protocol), "is not an http(s) URL"),
);

/** An update on offer. Size and checksums, where the hub sends them, are those of the file at the URL. */
export const Update = v.object({
  deployment_id: v.nullish(v.union([v.number(), bounded(MAX_TEXT)]), null),
  firmware_url: HttpUrl,
  firmware_meta: FirmwareMeta,
  size: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(1)), null),
  checksum: v.nullish(Sha256Hex, null),
  /** SHA-256 of each 1 MiB part, in order. */
  partials_checksums: v.nullish(v.array(Sha256Hex), null),
});
export type Update = v.InferOutput<typeof Update>;

/** An archive that comes with the deployment, in fwup's format; its uuid becomes a file's name. */
const Archive = v.object({
  uuid: v.pipe(v.string(), v.regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, "is no uuid")),
  version: Text,
  size: v.pipe(v.number(), v.integer(), v.minValue(1)),
  url: HttpUrl,
});
export type Archive = v.InferOutput<typeof Archive>;

const UpdateAvailable = v.object({ update_available: v.boolean() });
const Keys = v.object({ keys: v.array(bounded(MAX_TEXT)) });
const ScriptRun = v.object({
  text: v.string(),
  ref: bounded(MAX_TEXT),
  /** ms */
  timeout: v.nullish(v.pipe(v.number(), v.minValue(1))),
});
/** The part of an update that is needed to answer one that is otherwise malformed. */
const UpdateIdentity = v.object({ firmware_meta: v.object({ uuid: Uuid }) });

/** A support script. The server forgets its ref after 15 s, but for "connecting_code". */
export interface Script {
  readonly ref: string;
  readonly text: string;
  /** The longest it may run, ms, when the hub says so. */
  readonly timeoutMs: number | undefined;
}

/** The result of a support script. The hub shows `output`, then `return`, and no `reason`. */
export interface ScriptResult {
  readonly ref: string;
  readonly result: "completed" | "error";
  readonly output: string;
  readonly return: string;
  readonly reason?: string;
}

/** `{}` before device API 2.4.0. */
const OfferedExtensions = v.object({ extensions: v.record(v.string(), v.array(v.unknown())) });

/**
 * Who chooses the moment of an update (protocol §7.2): the hub in `automatic`, the board in `device_managed`; in `off`
 * there are only updates that an operator pushes, which come in every mode.
 */
const Mode = v.picklist(["automatic", "device_managed", "off"]);
/** A board may neither choose nor leave `off`. */
export type SettableMode = Exclude<v.InferOutput<typeof Mode>, "off">;

/** The mode, and whether this board may choose `device_managed`. */
const UpdateMode = v.object({ mode: Mode, managed_updates_allowed: v.boolean() });
export type UpdateMode = v.InferOutput<typeof UpdateMode>;

/** What the hub would send if it were asked for it now. */
const Available = v.object({ available: v.boolean(), firmware_meta: v.nullish(v.partial(FirmwareMeta), {}) });
export type Available = v.InferOutput<typeof Available>;

const MINUTE_MS = 60_000;
const MAX_DELAY_MIN = 7 * 24 * 60;
/** Why the board gets no update now, and when it may ask again. */
const Rejected = v.object({
  reason: v.nullish(Prose, null),
  /** Minutes, other than in `rescheduled`. */
  delay_for: v.nullish(v.pipe(v.number(), v.minValue(0), v.maxValue(MAX_DELAY_MIN)), null),
});

/** A parsed message of the hub. */
export type HubMessage =
  | { readonly type: "update"; readonly update: Update }
  /** An `update` that says there is none. */
  | { readonly type: "no-update" }
  /** An `update` that can't be one; the hub still waits for an answer. */
  | { readonly type: "bad-update"; readonly problem: string; readonly uuid: string | null }
  | { readonly type: "firmware-keys"; readonly keys: readonly string[] }
  | { readonly type: "archive-keys"; readonly keys: readonly string[] }
  | { readonly type: "reboot" }
  | { readonly type: "identify" }
  | { readonly type: "archive"; readonly archive: Archive }
  /** The versions of each extension that the hub has switched on; undefined when it does not say. */
  | { readonly type: "extensions"; readonly offered: ReadonlyMap<string, readonly string[]> | undefined }
  | { readonly type: "script"; readonly script: Script }
  | { readonly type: "update-mode"; readonly mode: UpdateMode }
  | { readonly type: "update-available"; readonly available: Available }
  /** `delayMs` is undefined when the hub names none. */
  | { readonly type: "update-rejected"; readonly reason: string; readonly delayMs: number | undefined }
  | { readonly type: "malformed"; readonly problem: string }
  | { readonly type: "unknown" };

/** One issue is enough for the log, and a list of a hundred thousand wrong items would fill the memory with issues. */
const FIRST_ISSUE = { abortEarly: true };

/** Reads a message of topic `device`; never throws. */
export function parseHubMessage(event: string, payload: unknown): HubMessage {
  switch (event) {
    case "update":
      return parseUpdate(payload);
    case "update_mode":
      return parsed(UpdateMode, event, payload, (mode) => ({ type: "update-mode", mode }));
    case "update_available":
      return parsed(Available, event, payload, (available) => ({ type: "update-available", available }));
    case "update_rejected":
      return parsed(Rejected, event, payload, ({ reason, delay_for: minutes }) => ({
        type: "update-rejected",
        reason: reason ?? "no reason given",
        delayMs: minutes === null ? undefined : minutes * MINUTE_MS,
      }));
    case "fwup_public_keys":
      return parsed(Keys, event, payload, ({ keys }) => ({ type: "firmware-keys", keys }));
    case "archive_public_keys":
      return parsed(Keys, event, payload, ({ keys }) => ({ type: "archive-keys", keys }));
    case "scripts/run":
      return parsed(ScriptRun, event, payload, ({ ref, text, timeout }) => ({
        type: "script",
        script: { ref, text, timeoutMs: timeout ?? undefined },
      }));
    case "reboot":
      return { type: "reboot" };
    case "identify":
      return { type: "identify" };
    case "archive":
      return parsed(Archive, event, payload, (archive) => ({ type: "archive", archive }));
    case "extensions:get":
      return { type: "extensions", offered: offeredVersions(payload) };
    default:
      return { type: "unknown" };
  }
}

/** Undefined when the hub does not say, or not in a way that can be read: it asks for extensions all the same. */
function offeredVersions(payload: unknown): ReadonlyMap<string, readonly string[]> | undefined {
  if (!v.is(OfferedExtensions, payload)) return undefined;
  return new Map(
    Object.entries(payload.extensions).map(([name, versions]) => [
      name,
      versions.filter((version) => typeof version === "string"),
    ]),
  );
}

/** Old servers answer the join with an update; today's answer `{}`. */
export function parseJoinReply(response: unknown): HubMessage | undefined {
  return v.is(UpdateAvailable, response) && response.update_available ? parseUpdate(response) : undefined;
}

function parseUpdate(payload: unknown): HubMessage {
  // A missing `update_available` is an update: only a plain false says that there is none.
  if (v.is(UpdateAvailable, payload) && !payload.update_available) return { type: "no-update" };
  const result = v.safeParse(Update, payload, FIRST_ISSUE);
  if (result.success) return { type: "update", update: result.output };
  const uuid = v.is(UpdateIdentity, payload) ? payload.firmware_meta.uuid : null;
  return { type: "bad-update", problem: problemOf("update", result.issues), uuid };
}

function parsed<S extends v.GenericSchema>(
  schema: S,
  event: string,
  payload: unknown,
  build: (output: v.InferOutput<S>) => HubMessage,
): HubMessage {
  const result = v.safeParse(schema, payload, FIRST_ISSUE);
  return result.success
    ? build(result.output)
    : { type: "malformed", problem: problemOf(event, result.issues) };
}

/** Names the first thing that is wrong, without quoting values: one may be a signed URL. */
function problemOf(
  event: string,
  issues: readonly [v.BaseIssue<unknown>, ...v.BaseIssue<unknown>[]],
): string {
  const [issue] = issues;
  const path = v.getDotPath(issue);
  const what = issue.kind === "schema" ? mismatch(issue) : issue.message;
  return `${event}${path === null ? "" : `: ${path}`} ${what}`;
}

function mismatch({ input, expected }: v.BaseIssue<unknown>): string {
  return input === undefined ? "is missing" : `should be ${String(expected)}`;
}

/**
 * The status words of the server's enumeration; any other crashes the device's channel there
 * (nerves_hub_web, UpdateStatus).
 */
export type UpdateStatus =
  | { readonly status: "received" }
  | { readonly status: "started"; readonly downloader_network_interface?: string }
  | { readonly status: "completed" }
  | { readonly status: "ignored"; readonly reason: string }
  /** `delay_for` in whole ms: the server adds it to its clock as such. */
  | { readonly status: "rescheduled"; readonly delay_for: number; readonly reason: string }
  | { readonly status: "failed"; readonly reason: string };

export type ProgressStage = "downloading" | "updating";

/** The messages of the board on topic `device`. */
export type DeviceMessage =
  | { readonly event: "status_update"; readonly payload: UpdateStatus }
  /** `value` in whole percent; without a stage, 100 means completed. */
  | {
      readonly event: "fwup_progress";
      readonly payload: { readonly value: number; readonly stage: ProgressStage };
    }
  | { readonly event: "rebooting"; readonly payload: Readonly<Record<string, never>> }
  | { readonly event: "firmware_validated"; readonly payload: Readonly<Record<string, never>> }
  | { readonly event: "report_network_interface"; readonly payload: { readonly interface: string } }
  | { readonly event: "scripts/run"; readonly payload: ScriptResult }
  /** Since device API 2.4.0; older hubs ignore these. */
  | { readonly event: "check_update" | "request_update"; readonly payload: Readonly<Record<string, never>> }
  | { readonly event: "set_update_mode"; readonly payload: { readonly mode: SettableMode } };

/** The API level of this agent; the server offers scripts and extensions by it. */
export const DEVICE_API_VERSION = "2.4.0";
export const CONSOLE_VERSION = "2.0.0";

/** The state of the board that each join reports to the hub. */
export interface JoinState {
  /** `nerves_fw_uuid` and the other values of the running slot. */
  readonly firmware: Readonly<Record<string, string>>;
  readonly fwupVersion: string;
  /** uuid of the firmware being downloaded or applied. */
  readonly downloadingUuid: string | null;
  readonly validated: boolean;
  readonly autoRevertDetected: boolean;
}

/** The payload of the join of topic `device` (protocol 4.1). */
export function joinPayload(state: JoinState): Readonly<Record<string, unknown>> {
  return {
    ...state.firmware,
    device_api_version: DEVICE_API_VERSION,
    console_version: CONSOLE_VERSION,
    fwup_version: state.fwupVersion,
    update_tool: "fwup",
    fwup_public_keys: "on_connect",
    archive_public_keys: "on_connect",
    currently_downloading_uuid: state.downloadingUuid,
    meta: {
      firmware_validated: state.validated,
      firmware_auto_revert_detected: state.autoRevertDetected,
    },
  };
}
