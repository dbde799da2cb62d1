/**
 * A download reports its retries only in its log; this log gives them to a test, which then moves its fake
 * clock.
 */
import type { Log } from "../../src/platform/log.ts";
import { recordingLog } from "../board/recording-log.ts";

/** A retry, as the log reports it. */
export interface LoggedRetry {
  readonly reason: string;
  /** Attempts in a row without a new byte. */
  readonly failures: number;
  /** Whole seconds, in ms. */
  readonly delayMs: number;
  readonly bytes: number;
}

/** A log that keeps its lines, and reports each retry of a download before its wait begins. */
export function retryLog(lines: string[], onRetry: (retry: LoggedRetry) => void): Log {
  const log = recordingLog(lines);
  return {
    ...log,
    warn(message, fields = {}) {
      log.warn(message, fields);
      const reason = /^download interrupted, trying again: (.*)$/.exec(message)?.[1];
      if (reason === undefined) return;
      const { failures, delay_s: delaySeconds, bytes } = fields;
      onRetry({
        reason,
        failures: Number(failures),
        delayMs: Number(delaySeconds) * 1000,
        bytes: Number(bytes),
      });
    },
  };
}
