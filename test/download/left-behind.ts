/** Finds children, sockets and timers that a test leaves in its process. */
import assert from "node:assert/strict";
import { eventually } from "../eventually.ts";

const KINDS = /^(ProcessWrap|PipeWrap|TCPSocketWrap|TCPServerWrap|TLSWrap|Timeout)$/;

/** Lists what the process holds now. @returns a function that fails when the process holds more than that */
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
