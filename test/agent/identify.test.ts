/**
 * The hub's message `identify` on a whole agent: an LED, a command or the application shows which board it
 * is.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { eventually } from "../eventually.ts";
import { IDENTIFIER, setUpBoard, type TestBoard } from "./board.ts";
import { controlPeer, type ControlPeer } from "./control-peer.ts";

describe("a hub that asks which board this is", () => {
  let board: TestBoard;
  let peer: ControlPeer | undefined;
  beforeEach(async () => {
    board = await setUpBoard();
    await board.start({ app: { ask_timeout_s: 0.05 } });
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
  });
  afterEach(async () => {
    await peer?.close();
    peer = undefined;
    await board.remove();
  });
  /** Answers the question to the application as the test wants. */
  const asked = async (): Promise<(answer: object) => void> => {
    const application = (peer = await controlPeer(board.config().state.controlSocket, {
      role: "controller",
    }));
    await application.next();
    board.hub.identify(IDENTIFIER);
    const { id, ...question } = await application.next();
    assert.deepEqual(question, { type: "request", method: "identify" });
    return (answer) => application.send({ type: "response", id, ...answer });
  };

  it("makes the application show it", async () => {
    (await asked())({ result: {} });
    await board.saw(/the application shows which board this is/);
  });

  it("the log shows an application's refusal, or that it did not answer", async () => {
    (await asked())({ error: { code: "no_lamp", message: "the lamp is broken" } });
    await board.saw(/can't show which board this is: the lamp is broken \(no_lamp\)/);
    board.hub.identify(IDENTIFIER);
    await board.saw(/the application does not say/);
  });

  it("the log shows that the board has no means to show it", async () => {
    board.hub.identify(IDENTIFIER);
    await board.saw(/no LED, no command and no application is there to show it/);
  });
});

describe("a board with an LED of its own", () => {
  let board: TestBoard;
  const lamp = (file: string): string => join(board.root, "sys/class/leds/lamp", file);
  const start = async (identify: Readonly<Record<string, unknown>>): Promise<void> => {
    await board.start({ identify });
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
  };
  const trigger = async (name: string): Promise<void> =>
    eventually(() => readFileSync(lamp("trigger"), "utf8") === name, `the LED has the trigger ${name}`);
  beforeEach(async () => {
    board = await setUpBoard();
    await mkdir(lamp("."), { recursive: true });
    const files = { brightness: "1", max_brightness: "1", trigger: "none [mmc0] timer" };
    for (const [file, text] of Object.entries(files)) await writeFile(lamp(file), `${text}\n`);
  });
  afterEach(async () => board.remove());

  it("blinks it and runs the command once, even when the hub asks again in between", async () => {
    const shown = join(board.dir, "shown");
    await start({ led: "lamp", seconds: 0.5, command: `echo $HUBLINK_IDENTIFY_SECONDS >> ${shown}` });
    for (let times = 0; times < 3; times += 1) board.hub.identify(IDENTIFIER);
    await board.saw(/the LED shows which board this is/);
    await board.saw(/identify\.command shows/);
    await trigger("mmc0");
    assert.equal(await readFile(shown, "utf8"), "0.5\n");
    assert.equal(readFileSync(lamp("brightness"), "utf8"), "0", "its trigger lights it from here on");
  });

  it("restores the LED when the agent stops during the blinking, and ends the command", async () => {
    await start({ led: "lamp", seconds: 3600, command: "exec sleep 3600" });
    board.hub.identify(IDENTIFIER);
    await trigger("none");
    await board.restart();
    assert.equal(readFileSync(lamp("trigger"), "utf8"), "mmc0");
  });

  it("ends both before the board reboots", async () => {
    await start({ led: "lamp", seconds: 3600, command: "exec sleep 3600" });
    board.hub.identify(IDENTIFIER);
    await trigger("none");
    board.hub.reboot(IDENTIFIER);
    await board.untilRebooted(1);
    assert.equal(readFileSync(lamp("trigger"), "utf8"), "mmc0");
  });

  it("logs at the start that the configured LED is missing, and logs a command that fails", async () => {
    await start({ led: "missing", command: "echo no lamp >&2; exit 3" });
    await board.saw(/identify\.led can't be used: no LED missing; there are: lamp/);
    board.hub.identify(IDENTIFIER);
    await board.saw(/identify\.command ended with 3.*no lamp/);
  });
});
