import { availableParallelism, loadavg } from "node:os";

/** What takes so long on an idle machine, stretched by how much more than its processors can do this one has to; whole ms. */
export function patience(idleMs: number): number {
  const [running = 0] = loadavg();
  return Math.round(idleMs * Math.max(1, running / availableParallelism()));
}
