/**
 * Errors that nobody expected: defects of hublink itself. The walls that keep one from spreading note it here, and
 * whoever reports defects listens. Node's diagnostics channels connect the two, so that no part needs the other.
 */
import { channel, subscribe, unsubscribe } from "node:diagnostics_channel";
import * as v from "valibot";
import { Failure, messageOf, systemCode } from "./failure.ts";
import { redact } from "./log.ts";

const NAME = "hublink.defect";
const defects = channel(NAME);

interface Defect {
  readonly error: unknown;
  readonly scope: string;
}

/**
 * Notes an error that a wall has caught, if it is a defect: neither a Failure, nor what the system or the network
 * reports, nor the end of something that was aborted.
 * @param scope which part it happened in, such as `geo`
 */
export function noteDefect(error: unknown, scope: string): void {
  if (!isDefect(error)) return;
  const defect: Defect = { error, scope };
  defects.publish(defect);
}

/** Calls `listener` with each defect from now on. @returns a function that ends this */
export function onDefect(listener: (error: unknown, scope: string) => void): () => void {
  const take = (message: unknown): void => {
    const { error, scope } = message as Defect; // the channel is this module's own
    listener(error, scope);
  };
  subscribe(NAME, take);
  return () => {
    unsubscribe(NAME, take);
  };
}

/** Whether an error is a mistake in the code, as far as can be told from the error itself. */
function isDefect(error: unknown): boolean {
  if (error instanceof Failure) return false;
  if (error instanceof Error && ["AbortError", "TimeoutError"].includes(error.name)) return false;
  const code = systemCode(error);
  return code === undefined || code.startsWith("ERR_"); // Node's own: a wrong argument
}

/** One call of a stack. */
export const Frame = v.object({
  /** The class, file or kernel module; may be missing, as all of it. */
  module: v.optional(v.string()),
  function: v.optional(v.string()),
  file: v.optional(v.string()),
  line: v.optional(v.number()),
});
export type Frame = v.InferOutput<typeof Frame>;

/** An error in words, without secrets. */
export interface ErrorWords {
  /** One line: the error's name and message. */
  readonly reason: string;
  /** Its stack, and those of its causes. */
  readonly message: string;
  /** The innermost first. */
  readonly frames: readonly Frame[];
}

const MAX_CAUSES = 3;

/** Describes a thrown value. */
export function describeError(error: unknown): ErrorWords {
  const name = error instanceof Error ? error.name : "thrown";
  const stacks: string[] = [];
  let at: unknown = error;
  for (let depth = 0; at instanceof Error && depth < MAX_CAUSES; depth += 1) {
    stacks.push(redact(at.stack ?? String(at)));
    at = at.cause;
  }
  return {
    reason: redact(`${name}: ${messageOf(error)}`),
    message: stacks.join("\ncaused by: "),
    frames: error instanceof Error ? framesOf(error.stack ?? "") : [],
  };
}

/** The calls in a stack of V8: `at Class.method (file:line:column)`, the innermost first. */
export function framesOf(stack: string): Frame[] {
  return stack.split("\n").flatMap((text) => {
    const call = /^ {4}at (?:async )?(?:(\S[^()]*) \()?([^()]+?):(\d+):\d+\)?$/.exec(text);
    if (call === null) return [];
    const [, name = "", file = "", line] = call;
    const [, owner, method = name] = /^(?:new )?(.*)\.([^.]+?)(?: \[as .*\])?$/.exec(name) ?? [];
    return [
      {
        module: owner ?? "hublink",
        ...(method !== "" && { function: method }),
        file: redact(file.replace(/^file:\/\//, "")),
        line: Number(line),
      },
    ];
  });
}
