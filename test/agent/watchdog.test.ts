/** The agent feeds the kernel's watchdog while it is well. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, readSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { systemClock, type Clock } from "../../src/platform/clock.ts";
import { eventually } from "../eventually.ts";
import { IDENTIFIER, setUpBoard, type TestBoard } from "./board.ts";
import { controlPeer } from "./control-peer.ts";

describe("an agent with a watchdog", () => {
  let board: TestBoard;
  let device: string;
  let reader: number;
  before(async () => {
    // The minute between two checks of the application passes at once.
    const after: Clock["after"] = (ms, task) => systemClock.after(ms === 60_000 ? 0 : ms, task);
    board = await setUpBoard({ clock: { ...systemClock, after } });
    device = join(board.dir, "watchdog");
    execFileSync("mkfifo", [device]); // takes bytes as the device does, and shows them
    reader = openSync(device, constants.O_RDONLY | constants.O_NONBLOCK);
    const facts = join(board.root, "sys/class/watchdog/watchdog0");
    await mkdir(facts, { recursive: true });
    await writeFile(join(facts, "timeout"), "0.03\n"); // fed each 10 ms
  });
  after(async () => {
    closeSync(reader);
    await board.remove();
  });

  /** The bytes that were written to the watchdog since the last look. */
  const written = (): string => {
    const buffer = Buffer.alloc(65_536);
    try {
      return buffer.toString("latin1", 0, readSync(reader, buffer));
    } catch {
      return ""; // EAGAIN: nothing
    }
  };
  const status = async (): Promise<{ watchdogs: string[]; watchdogs_starving: string | null }> => {
    const peer = await controlPeer(join(board.dir, "hublink.sock"), {
      type: "hello",
      name: "test",
      role: "observer",
      api: 1,
    });
    await peer.next();
    const { result } = await peer.request("status");
    await peer.close();
    return result as Awaited<ReturnType<typeof status>>;
  };

  it("feeds it, shows it in the status, and disarms it when it is stopped", async () => {
    const agent = await board.start({ watchdog: { device } });
    let fed = 0;
    await eventually(() => (fed += written().length) > 5, "fed five times");
    const { watchdogs, watchdogs_starving: starving } = await status();
    assert.deepEqual([watchdogs, starving], [[`${device}, 0.03 s`], null]);
    await agent.stop();
    assert.match(written(), /^\0*V$/);
  });

  it("does not feed it while the application's own check fails, and feeds it again after that", async () => {
    const broken = join(board.dir, "pump-stands-still");
    await writeFile(broken, "");
    const agent = await board.start({ watchdog: { device, command: `test ! -e ${broken}` } });
    await board.saw(/the watchdogs are not fed any more.*watchdog\.command has failed 3 times in a row/);
    await rm(broken);
    await board.saw(/the watchdogs are fed again/);
    written();
    await eventually(() => written() !== "", "fed again");
    await agent.stop();
  });

  it("lets it reset the board when no method to reboot has worked", async () => {
    const agent = await board.start({
      watchdog: { device },
      reboot: { command: "exit 1", grace_s: 0.01, escalate_s: 0.01 },
    });
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
    board.hub.reboot(IDENTIFIER);
    await board.saw(/the watchdogs are not fed any more, and reset the board: .*still up after every way/);
    assert.match((await status()).watchdogs_starving ?? "", /still up after every way/);
    written();
    await agent.stop();
    assert.equal(written(), "V", "it was not fed since");
  });
});
