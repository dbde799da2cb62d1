import assert from "node:assert/strict";
import { eventually } from "../eventually.ts";

const KINDS = /^(ProcessWrap|PipeWrap|TCPSocketWrap|TCPServerWrap|TLSWrap|Timeout)$/;

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
