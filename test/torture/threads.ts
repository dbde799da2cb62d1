/** Shows what a process that hangs is doing, from /proc: this is the only trace when a round stands still. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/**
 * One line for each thread of a process and of its descendants: the thread's name, its state, where it waits
 * and in which system call (proc_pid_wchan(5), proc_pid_syscall(5)).
 */
export function threadsOf(pid: number): string {
  const tasks = `/proc/${pid}/task`;
  const threads = namesIn(tasks).map((thread) => {
    const of = (name: string): string => textOf(join(tasks, thread, name));
    const state = /^State:\s*(\S)/m.exec(of("status"))?.[1] ?? "?";
    return `  ${pid}/${thread} ${of("comm")} ${state} ${of("wchan")} syscall ${of("syscall").slice(0, 60)}`;
  });
  const children = namesIn(tasks).flatMap((thread) =>
    textOf(join(tasks, thread, "children"))
      .split(" ")
      .filter(Boolean)
      .map(Number),
  );
  return [textOf(`/proc/${pid}/cmdline`).replaceAll("\0", " ").slice(0, 100), ...threads]
    .concat(children.map(threadsOf))
    .join("\n");
}

/** Empty when the process has ended, which can happen at any time. */
function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** Empty when the process has ended. */
function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}
