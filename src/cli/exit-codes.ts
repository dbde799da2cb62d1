import { Failure, type FailureKind } from "../platform/failure.ts";

/** sysexits.h, where one fits. */
const EXIT_CODES: Readonly<Record<FailureKind, number>> = {
  usage: 64,
  "no-input": 66,
  unavailable: 69,
  io: 74,
  permission: 77,
  config: 78,
  other: 1,
};

export function exitCodeOf(error: unknown): number {
  return error instanceof Failure ? EXIT_CODES[error.kind] : 1;
}
