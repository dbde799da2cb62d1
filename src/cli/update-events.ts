/** What a person sees of an update that the daemon installs: its progress, and why it waits. */
import * as v from "valibot";
import { type ControlEvent, ProgressPayload, WaitingPayload } from "../control/messages.ts";
import { printable } from "../platform/text.ts";
import type { ProgressBar } from "./progress-bar.ts";
import type { CommandContext } from "./terminal.ts";

/** The events that {@link showUpdateEvent} shows. */
export const UPDATE_EVENTS: readonly ControlEvent[] = ["update_progress", "update_waiting"];

/** Shows an event of the control socket; one that is not understood is left out. */
export function showUpdateEvent(
  event: string,
  payload: unknown,
  { terminal }: CommandContext,
  bar: ProgressBar,
): void {
  const progress = v.safeParse(ProgressPayload, payload);
  if (event === "update_progress" && progress.success) {
    bar.show({ ...progress.output, bytes: progress.output.bytes ?? 0 });
  }
  const wait = v.safeParse(WaitingPayload, payload);
  if (event !== "update_waiting" || !wait.success || wait.output.reason === null) return;
  const { reason, next_attempt_s: seconds } = wait.output;
  terminal.stderr.write(`hublink: the download waits ${seconds ?? 0} s: ${printable(reason)}\n`);
}
