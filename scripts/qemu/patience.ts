/** Time limits on a machine that may be busy. */
import { availableParallelism, loadavg } from "node:os";

/**
 * Stretches a time limit by the load of this machine.
 * @param idleMs the limit on an idle machine
 * @returns whole ms: `idleMs` times the load per processor, and `idleMs` at least
 */
export function patience(idleMs: number): number {
  const [running = 0] = loadavg();
  return Math.round(idleMs * Math.max(1, running / availableParallelism()));
}
