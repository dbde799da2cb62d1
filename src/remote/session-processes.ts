import { readdirSync, readFileSync } from "node:fs";
import { systemCode } from "../platform/failure.ts";

/**
 * Sends a signal to every process of a session (setsid(2)), whatever process groups a shell with job
 * control has made of them.
 */
export function signalSession(sessionId: number, signal: NodeJS.Signals): void {
  for (const pid of sessionMembers(sessionId)) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      // ESRCH: it has ended meanwhile. EPERM: a set-uid program, which its terminal's hang-up has to end.
      if (!["ESRCH", "EPERM"].includes(systemCode(error) ?? "")) throw error;
    }
  }
}

function sessionMembers(sessionId: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid && sessionOf(pid) === sessionId);
}

/** Undefined for a process that has ended. */
function sessionOf(pid: number): number | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    return undefined; // it has ended since the folder was read
  }
  // proc(5): the name stands in parentheses and may hold some itself; then state, parent, group, session.
  const [state, , , session] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return state === "Z" ? undefined : Number(session);
}
