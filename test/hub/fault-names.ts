/** The faults by the names and numbers that a person types at the prompt of `npm run hub`. */
import { Failure } from "../../src/platform/failure.ts";
import * as faults from "./faults.ts";
import type { Fault } from "./faults.ts";

interface NamedFault {
  readonly parameters: readonly string[];
  readonly make: (numbers: readonly number[]) => Fault;
}

/** Faults as they are called at the prompt; all their parameters are numbers. */
const FAULTS: ReadonlyMap<string, NamedFault> = new Map<string, NamedFault>([
  ["reset-at-connect", none(faults.resetAtConnect)],
  ["refuse-upgrade", one("STATUS", faults.refuseUpgrade)],
  ["accept-then-close", one("CODE", faults.acceptThenClose)],
  ["swallow-heartbeats", none(faults.swallowHeartbeats)],
  ["drop-frames", none(faults.dropFrames)],
  ["flap", one("MS", faults.flap)],
  ["garbage-frame", none(faults.garbageFrame)],
  ["reset-after", one("BYTES", faults.resetAfter)],
  ["break-tls-after", one("BYTES", faults.breakTlsAfter)],
  ["stall-after", one("BYTES", faults.stallAfter)],
  ["drip", two("BYTES", "MS", faults.drip)],
  ["truncate-at", one("BYTES", faults.truncateAt)],
  ["wrong-content-length", one("DELTA", faults.wrongContentLength)],
  ["corrupt-byte", one("OFFSET", faults.corruptByte)],
  ["duplicate-bytes", two("OFFSET", "BYTES", faults.duplicateBytes)],
  ["ignore-range", none(faults.ignoreRange)],
  ["lying-content-range", one("SHIFT", faults.lyingContentRange)],
  ["changing-etag", none(faults.changingEtag)],
  ["refuse-download", one("STATUS", faults.refuseDownload)],
  ["redirect-download", none(faults.redirectDownload)],
]);

/** One line for each fault: its name and what it needs. */
export function faultUsages(): string[] {
  return [...FAULTS].map(([name, { parameters }]) => [name, ...parameters].join(" "));
}

/**
 * The fault of a name and its numbers, such as `["drip", "100", "50"]`.
 * @throws Failure `usage`
 */
export function faultByName([name = "", ...words]: readonly string[]): Fault {
  const fault = FAULTS.get(name);
  if (fault === undefined) throw new Failure("usage", `fault ${name}: unknown; "help" lists them`);
  const numbers = words.map(Number);
  if (numbers.length !== fault.parameters.length || numbers.some((number) => !Number.isInteger(number))) {
    throw new Failure("usage", `usage: fault ${[name, ...fault.parameters].join(" ")} [xTIMES]`);
  }
  return fault.make(numbers);
}

function none(make: () => Fault): NamedFault {
  return { parameters: [], make: () => make() };
}

function one(parameter: string, make: (number: number) => Fault): NamedFault {
  return { parameters: [parameter], make: ([number = 0]) => make(number) };
}

function two(first: string, second: string, make: (one: number, two: number) => Fault): NamedFault {
  return { parameters: [first, second], make: ([a = 0, b = 0]) => make(a, b) };
}
