/**
 * One report of the extension `error_reports`, within NervesHub's limits (protocol §7.3). Rule: whatever its source, no
 * text leaves the board with a secret or a signed URL in it, or with half a character.
 */
import type { Frame } from "../platform/defects.ts";
import { redact } from "../platform/log.ts";
import { wellFormed } from "../platform/text.ts";

/** An error as its source describes it. */
export interface ReportedError {
  /** `error`, `crash`, `panic`, …, or the application's own word. */
  readonly kind: string;
  /** One line. */
  readonly reason: string;
  readonly message?: string | undefined;
  /** `logger`: caught by the agent. `manual`: somebody reports it. */
  readonly source: "logger" | "manual";
  /** By which the hub groups reports, in place of its own way. */
  readonly fingerprint?: string | undefined;
  /** The innermost first. */
  readonly frames?: readonly Frame[] | undefined;
  readonly context?: Readonly<Record<string, string>> | undefined;
  /** Default: the one that runs. */
  readonly firmwareUuid?: string | undefined;
  /** Wall clock; default: now. */
  readonly atMs?: number | undefined;
}

/** A report's members that do not change while it waits. */
export interface ErrorReport {
  readonly kind: string;
  readonly reason: string;
  readonly message?: string;
  readonly source: string;
  readonly fingerprint?: string;
  readonly frames: readonly Frame[];
  readonly context: Readonly<Record<string, string>>;
  readonly firmware_uuid?: string;
}

const MAX_REASON_BYTES = 2048;
const MAX_MESSAGE_BYTES = 8192;
const MAX_FRAMES = 30;
const MAX_CONTEXT = 32;
const MAX_VALUE_BYTES = 512;
const MAX_WORD_BYTES = 200;

/**
 * Cuts a report to the hub's limits, and removes secrets.
 * @param vitals of the board, added to the context; the error's own come first
 */
export function errorReport(
  error: ReportedError,
  vitals: Readonly<Record<string, string>>,
  firmwareUuid: string | undefined,
): ErrorReport {
  const { message, fingerprint } = error;
  const uuid = error.firmwareUuid ?? firmwareUuid;
  const context = Object.entries({ ...vitals, ...error.context })
    .slice(0, MAX_CONTEXT)
    .map(([key, value]) => [safe(key, MAX_WORD_BYTES), safe(value, MAX_VALUE_BYTES)] as const);
  return {
    kind: safe(error.kind, MAX_WORD_BYTES) || "error",
    reason: safe(error.reason.replace(/\s+/g, " ").trim(), MAX_REASON_BYTES) || "unknown",
    ...(message !== undefined && message !== "" && { message: safe(message, MAX_MESSAGE_BYTES) }),
    source: error.source,
    ...(fingerprint !== undefined && { fingerprint: safe(fingerprint, MAX_WORD_BYTES) }),
    frames: (error.frames ?? []).slice(0, MAX_FRAMES).map(safeFrame),
    context: Object.fromEntries(context),
    ...(uuid !== undefined && { firmware_uuid: safe(uuid, MAX_WORD_BYTES) }),
  };
}

/** What makes two reports the same error. Numbers differ between two of the same. */
export function sameness({ kind, reason, fingerprint, frames }: ErrorReport): string {
  const top = frames.slice(0, 3).map(({ module = "", function: name = "" }) => `${module}.${name}`);
  return JSON.stringify([kind, fingerprint ?? reason.replace(/\d+/g, "0"), ...top]);
}

function safeFrame({ module, function: name, file, line }: Frame): Frame {
  return {
    ...(module !== undefined && { module: safe(module, MAX_WORD_BYTES) }),
    ...(name !== undefined && { function: safe(name, MAX_WORD_BYTES) }),
    ...(file !== undefined && { file: safe(file, MAX_WORD_BYTES) }),
    ...(line !== undefined && Number.isSafeInteger(line) && { line }),
  };
}

/** Redacted before it is cut: half a URL might not be known as one. */
function safe(text: string, maxBytes: number): string {
  const clean = wellFormed(redact(text).replaceAll("\0", ""));
  const bytes = Buffer.from(clean);
  if (bytes.length <= maxBytes) return clean;
  return `${bytes
    .subarray(0, maxBytes - 3)
    .toString("utf8")
    .replace(/\ufffd{1,3}$/, "")}…`;
}
