/** Starting and stopping the agent many times leaves nothing behind. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { after, before, describe, it } from "node:test";
import { IDENTIFIER, setUpBoard, type TestBoard } from "../agent/board.ts";

const CYCLES = 200;

/** The things of a process that could leak. */
interface Holdings {
  readonly resources: Readonly<Record<string, number>>;
  readonly listeners: number;
  readonly openFiles: number;
  readonly children: number;
}

describe("an agent that is started and stopped many times", () => {
  let board: TestBoard;
  before(async () => {
    board = await setUpBoard();
  });
  after(async () => board.remove());

  const holdings = (): Holdings => {
    const resources: Record<string, number> = {};
    for (const name of process.getActiveResourcesInfo()) resources[name] = (resources[name] ?? 0) + 1;
    const listeners = process.eventNames().map((name) => process.listenerCount(name));
    return {
      resources,
      listeners: listeners.reduce((sum, count) => sum + count, 0),
      openFiles: readdirSync("/proc/self/fd").length,
      children: childrenOf(process.pid),
    };
  };
  /** Starts an agent, waits for its join, stops it, and waits until the hub has noticed. */
  const cycle = async (): Promise<void> => {
    const device = board.hub.device(IDENTIFIER);
    const ended = device.closes.length;
    const agent = await board.start();
    await board.hub.until(() => device.online);
    await agent.stop();
    await board.hub.until(() => device.closes.length > ended);
  };
  /** Waits for the hub's ends of the sockets, which close in this process, shortly after. */
  const settled = async (isSettled: () => boolean): Promise<void> => {
    for (let turn = 0; turn < 10_000 && !isSettled(); turn += 1) await setImmediate();
  };

  /** Whether those sockets are closed, and no file is just being closed. */
  const isQuiet = (): boolean =>
    !process.getActiveResourcesInfo().some((name) => name === "TCPSocketWrap" || name === "CloseReq");

  it(`holds after ${CYCLES} times only what it held after the first`, async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error): void => void warnings.push(warning);
    process.on("warning", onWarning);
    await cycle();
    await settled(isQuiet);
    const first = holdings();
    for (let count = 0; count < CYCLES; count += 1) await cycle();
    await settled(isQuiet);
    assert.deepEqual(holdings(), first);
    process.off("warning", onWarning);
    assert.deepEqual(warnings, []); // such as MaxListenersExceededWarning
    const device = board.hub.device(IDENTIFIER);
    assert.equal(device.connections, CYCLES + 1);
    assert.ok(device.closes.every((code) => code === 1000));
  });
});

function childrenOf(pid: number): number {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).length;
}
