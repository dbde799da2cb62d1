/**
 * Which hublink started an fwup. An fwup that lives on after its agent was killed goes on writing to the slot, and has
 * to be told from one that somebody runs by hand, which must not be killed.
 */
import { processOf } from "../platform/processes.ts";

/** The variable by which an fwup says which hublink started it: `PID.START`, the start as in {@link processOf}. */
export const STARTED_BY = "HUBLINK_FWUP";

/** The value for an fwup that this process starts. */
export function startedByThis(): string {
  return `${process.pid}.${processOf(process.pid)?.start ?? ""}`;
}

/** Whether the hublink that a {@link STARTED_BY} names is another one that still lives. */
export function startedByLiveAgent(startedBy: string): boolean {
  const [pid, start] = startedBy.split(".");
  return startedBy !== startedByThis() && processOf(Number(pid))?.start === start;
}
