import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";

const KINDS = /^(ProcessWrap|PipeWrap|TCPSocketWrap|TCPServerWrap|TLSWrap|Timeout)$/;
const MAX_WAIT_MS = 10_000;

/** Resolves once `condition` holds, which something outside this process brings about. */
export async function eventually(condition: () => boolean, what: string): Promise<void> {
  const giveUpMs = performance.now() + MAX_WAIT_MS;
  while (!condition()) {
    assert.ok(performance.now() < giveUpMs, `not within ${MAX_WAIT_MS} ms: ${what}`);
    await setImmediate();
  }
}

/** Keeps what this process holds now; the result fails when more is held once things have settled. */
export function watchForLeftovers(): () => Promise<void> {
  const before = held();
  return async () => {
    try {
      await eventually(() => held().length <= before.length, "");
    } catch {
      assert.deepEqual(held(), before, "children, sockets or timers were left behind");
    }
  };
}

function held(): string[] {
  return process
    .getActiveResourcesInfo()
    .filter((name) => KINDS.test(name))
    .sort();
}
