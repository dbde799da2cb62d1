/**
 * How tests wait. Each wait has the same limit, here and nowhere else, and fails with the name of what did
 * not happen. Limits of 10 and 15 seconds failed on busy machines, and loops without a limit hung until
 * somebody killed the run.
 */
import { setTimeout as startTimer } from "node:timers";
import { setImmediate, setTimeout } from "node:timers/promises";

/** Nothing that goes well takes this long, on however busy a machine. */
export const PATIENCE_MS = 120_000;

/** Most conditions hold within these; a wait that takes longer leaves the processor to others. */
const EAGER_MS = 20;
const PAUSE_MS = 5;

/** The event that is awaited, for the failure; a function shows how far things had come by then. */
type What = string | (() => string);

/**
 * Resolves once `condition` holds. It is asked again and again: this is for files and processes, whose
 * changes send no event.
 * @throws Error when it does not hold within `PATIENCE_MS`
 */
export async function eventually(condition: () => boolean | Promise<boolean>, what: What): Promise<void> {
  const start = performance.now();
  while (!(await condition())) {
    const waited = performance.now() - start;
    if (waited > PATIENCE_MS) throw new Error(tooLate(what));
    await (waited < EAGER_MS ? setImmediate() : setTimeout(PAUSE_MS));
  }
}

/**
 * The result of `promise`, for what ends by an event.
 * @throws Error when it takes longer than `PATIENCE_MS`
 */
export async function inTime<T>(promise: Promise<T>, what: What): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = startTimer(() => reject(new Error(tooLate(what))), PATIENCE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function tooLate(what: What): string {
  return `not within ${PATIENCE_MS / 1000} s: ${typeof what === "string" ? what : what()}`;
}
