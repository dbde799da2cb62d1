/** The extension local_shell with a real shell. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import type { Agent } from "../../src/agent/agent.ts";
import { IDENTIFIER, setUpBoard, type TestBoard } from "../agent/board.ts";
import type { RunningExtension } from "../../src/extensions/extension.ts";
import { silentLog } from "../../src/platform/log.ts";
import { systemWorld, type World } from "../../src/platform/world.ts";
import { localShell } from "../../src/remote/local-shell.ts";
import { eventually } from "../eventually.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { backendsHere, untilGone } from "../remote/shell-on.ts";

describe("the extension local_shell", () => {
  let board: TestBoard;
  let agent: Agent | undefined;
  let from = 0;
  before(async () => {
    board = await setUpBoard();
  });
  afterEach(async () => {
    await agent?.stop();
    agent = undefined;
  });
  after(async () => board.remove());

  const start = async (): Promise<void> => {
    from = board.hub.device(IDENTIFIER).received.length;
    agent = await board.start({ extensions: { health: false, local_shell: true } });
    await status("started"); // the hub requests a shell as soon as the extension is attached
  };
  const messages = (event: string): unknown[] =>
    board.hub
      .device(IDENTIFIER)
      .received.slice(from)
      .filter((message) => message.event === `local_shell:${event}`)
      .map(({ payload }) => payload);
  const status = async (word: string): Promise<void> =>
    board.hub.until(() => JSON.stringify(messages("request_status")).includes(`"${word}"`));
  const send = (event: string, payload: unknown): void =>
    board.hub.send(IDENTIFIER, "extensions", `local_shell:${event}`, payload);
  const type = (data: string): void => send("shell_input", { data });
  const shown = (): string =>
    messages("shell_output")
      .map((payload) => (payload as { data: string }).data)
      .join("");
  const shows = async (pattern: RegExp): Promise<void> => {
    await board.hub
      .until(() => pattern.test(shown()))
      .catch(() => {
        assert.fail(`${String(pattern)} is not in ${JSON.stringify(shown().slice(-1000))}`);
      });
  };
  const exited = async (): Promise<unknown> => {
    await board.hub.until(() => messages("shell_exited").length > 0);
    return messages("shell_exited")[0];
  };

  /** The extension alone, on a clock of its own. */
  const attach = async ({
    clock,
    sent,
    world,
  }: {
    clock: FakeClock;
    sent: [string, unknown][];
    world: World;
  }): Promise<{ running: RunningExtension }> => {
    const { backend } =
      backendsHere().find(({ skip }) => skip === false) ?? assert.fail("no terminal backend");
    const extension = localShell({
      config: { ...board.config().console, shell: "/bin/sh" },
      terminalBackend: async () => Promise.resolve(backend),
      confirm: async () => Promise.resolve(true),
      world,
    });
    const running = await extension.start({
      ...{ version: "0.0.1", clock, log: silentLog, signal: new AbortController().signal },
      push: (event, payload) => sent.push([event, payload]) > 0,
      fail: (error) => assert.fail(String(error)),
    });
    return { running };
  };

  it("is not offered unless the configuration enables it", async () => {
    from = board.hub.device(IDENTIFIER).received.length;
    agent = await board.start();
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
    send("request_shell", {});
    type("exit\r");
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
    assert.deepEqual([...messages("attached"), ...messages("request_status")], []);
  });

  it("is a shell on a terminal, and accepts both spellings of its size", async () => {
    await start();
    for (const [size, shownSize] of [
      [{ rows: 40, cols: 120 }, "40 120"],
      [{ height: 33, width: 99 }, "33 99"],
    ] as const) {
      send("window_size", size);
      type(`until [ "$(stty size)" = "${shownSize}" ]; do sleep 0.1; done; echo is-$(stty size)\r`);
      await shows(new RegExp(`is-${shownSize}`));
    }
  });

  it("reports the shell's exit code, and starts another on request", async () => {
    await start();
    type("exit 3\r");
    assert.deepEqual(await exited(), { exit_code: 3 });
    const timer = setInterval(() => send("request_shell", {}), 200);
    try {
      await board.hub.until(() => messages("request_status").length === 2);
    } finally {
      clearInterval(timer);
    }
    type("echo again-$((40 + 2))\r");
    await shows(/again-42/);
  });

  it("is started again by what is typed after its end: the hub requests a shell only once", async () => {
    await start();
    type("exit\r");
    await exited();
    const timer = setInterval(() => type("echo back-$((40 + 2))\r"), 200); // no two shells start within a second
    try {
      await shows(/back-42/);
    } finally {
      clearInterval(timer);
    }
    assert.equal(messages("request_status").length, 2);
  });

  it("does not end while nobody has typed yet, and ends when nothing more is typed", async (t) => {
    const clock = new FakeClock();
    const sent: [string, unknown][] = [];
    const { running } = await attach({ clock, sent, world: { ...systemWorld, clock } });
    t.after(async () => {
      const stopped = running.stop?.();
      await clock.advance(60_000); // a shell that does not end is killed
      await stopped;
    });
    /** Output waits for more of it, by the clock. */
    const has = async (pattern: RegExp): Promise<void> =>
      eventually(async () => {
        await clock.advance(10);
        return pattern.test(JSON.stringify(sent));
      }, String(pattern));
    await running.onMessage("request_shell", {});
    await has(/request_status/);
    await clock.advance(3_600_000);
    await running.onMessage("shell_input", { data: "echo al$((40 + 2))ive\r" });
    await has(/al42ive/);
    assert.equal(sent.filter(([event]) => event === "request_status").length, 1);
    await clock.advance(300_000);
    await has(/shell_exited/);
  });

  it("is interrupted by SIGINT, and ended with everything in it by default", async () => {
    await start();
    const nap = `sleep 12${process.pid}`;
    type(`sh -c 'echo na$((1))p; exec ${nap}'; echo interrup$((1))ted\r`);
    await shows(/na1p/);
    send("kill_shell", { signal: 2 });
    await untilGone(nap);
    type(`\r(trap '' HUP TERM; exec ${nap}) & echo st$((1))arted\r`);
    await shows(/st1arted/);
    send("kill_shell", {});
    const { exit_code: code } = (await exited()) as { exit_code: unknown };
    assert.equal(typeof code, "number");
    await untilGone(nap);
  });

  it("ends when it is detached", async () => {
    await start();
    const nap = `sleep 13${process.pid}`;
    type(`${nap}\r`);
    await shows(/sleep/);
    board.hub.send(IDENTIFIER, "extensions", "detach", { extensions: ["local_shell"] });
    await board.hub.until(() => messages("detached").length === 1);
    await untilGone(nap);
  });

  it("stays attached under a flood in both directions", async () => {
    await start();
    type("yes\r");
    await shows(/y\r\ny/);
    for (let n = 0; n < 5000; n += 1) type("x");
    await board.hub.until(() => messages("shell_output").length > 40);
    assert.deepEqual([...messages("detached"), ...messages("error")], []);
  });
});
