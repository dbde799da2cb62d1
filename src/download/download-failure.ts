import { Failure } from "../platform/failure.ts";

/**
 * Why a download can't be completed.
 *
 * - `expired-or-gone`: the server does not give the file under this URL (any more); a new URL may help
 * - `refused`: the URL or the server's answer is not one to follow, such as a redirect from https to http
 * - `file-changed`: the file is not the one that the first bytes are of, and those are handed out already;
 *   starting over from the first byte may help
 * - `gave-up`: too many attempts in a row without a new byte
 * - `timed-out`: it took longer than it may in all
 */
export type DownloadFault = "expired-or-gone" | "refused" | "file-changed" | "gave-up" | "timed-out";

export class DownloadFailure extends Failure {
  readonly fault: DownloadFault;

  constructor(fault: DownloadFault, message: string, options?: ErrorOptions) {
    super("unavailable", message, options);
    this.name = "DownloadFailure";
    this.fault = fault;
  }
}

/** What went wrong with one attempt; trying again may help. */
export class LineFault extends Error {
  /** How long the server asks to stay away, ms. */
  readonly retryAfterMs: number;
  /** True when bytes came, but too slowly to count as headway. */
  readonly tooSlow: boolean;
  /** True when the server says that the file has no byte where it was asked for one. */
  readonly pastEnd: boolean;

  constructor(message: string, options: LineFaultOptions = {}) {
    const { retryAfterMs = 0, tooSlow = false, pastEnd = false, ...rest } = options;
    super(message, rest);
    this.name = "LineFault";
    this.retryAfterMs = retryAfterMs;
    this.tooSlow = tooSlow;
    this.pastEnd = pastEnd;
  }
}

interface LineFaultOptions extends ErrorOptions {
  readonly retryAfterMs?: number;
  readonly tooSlow?: boolean;
  readonly pastEnd?: boolean;
}
