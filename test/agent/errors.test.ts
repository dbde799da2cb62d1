/** What a whole agent reports as errors: its own, those of the boot and the agent before, and an application's. */
import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, it } from "node:test";
import { connectToDaemon, type ControlClient } from "../../src/control/client.ts";
import type { AgentStatus } from "../../src/control/agent-status.ts";
import { noteDefect } from "../../src/platform/defects.ts";
import { Failure } from "../../src/platform/failure.ts";
import { end, start } from "../cli/program.ts";
import { IDENTIFIER, setUpBoard, type TestBoard } from "./board.ts";

describe("errors that an agent reports", () => {
  let board: TestBoard;
  afterEach(async () => board.remove());
  const config = { extensions: { health: false, error_reports: true } };
  const daemon = async (): Promise<ControlClient> => {
    const found = await connectToDaemon({ path: board.config().state.controlSocket });
    assert(found);
    return found;
  };
  const errors = async (count: number) => {
    const device = board.hub.device(IDENTIFIER);
    await board.hub.until(() => device.errors.length >= count);
    return device.errors;
  };
  const keepFacts = async (): Promise<void> => {
    const facts = {
      "sys/fs/pstore/dmesg-ramoops-0": "Panic#1 Part1\n<0>[ 1.2] Kernel panic - not syncing: no init\n",
      "sys/class/watchdog/watchdog0/bootstatus": "32\n",
    };
    for (const [path, text] of Object.entries(facts)) {
      await mkdir(join(board.root, path, ".."), { recursive: true });
      await writeFile(join(board.root, path), text);
    }
  };

  it("are its own, the kernel's, the watchdog's and an application's; each once", async () => {
    board = await setUpBoard({ hub: { api: "2.4" }, config });
    await board.start({ extensions: { health: false } });
    await keepFacts();
    await board.reboot();
    const socket = await daemon();
    noteDefect(new TypeError("no pump at https://u:secret@host/?secret"), "geo");
    noteDefect(new Failure("failed", "expected"), "geo");
    noteDefect(new TypeError("about reporting"), "error_reports");
    const answer = await socket.request("report_error", {
      ...{ reason: "PaymentError: declined", kind: "exit", context: { shop: "7" } },
      frames: [{ module: "shop", function: "pay", file: "shop.py", line: 3 }],
    });
    assert.deepEqual(answer, {});
    await assert.rejects(socket.request("report_error", { kind: "x" }), /report_error takes/);
    socket.close();
    const found = (await errors(4)).map(({ kind, reason, source }) => `${kind} ${reason} (${source})`);
    assert.deepEqual(found.toSorted(), [
      "error TypeError: no pump at https://…@host/?… (logger)",
      "exit PaymentError: declined (manual)",
      "panic Kernel panic - not syncing: no init (logger)",
      "watchdog watchdog0 reset the board (logger)",
    ]);
    const { frames, context, firmwareUuid } = (await errors(4)).find(({ kind }) => kind === "error") ?? {};
    assert.match(String(frames?.[0]?.["file"]), /errors\.test\.ts$/);
    assert.match(String(context?.["uptime_ms"]), /^\d+$/);
    assert.deepEqual([context?.["scope"], firmwareUuid], ["geo", board.v1.uuid]);
    await board.restart();
    const again = await daemon();
    await again.request("report_error", { reason: "after the restart" });
    again.close();
    await board.hub.until(() =>
      board.hub.device(IDENTIFIER).errors.some(({ reason }) => reason === "after the restart"),
    );
    assert.equal((await errors(5)).length, 5, "the panic is not reported again");
  });

  it("are a reboot that the agent asked for never, although it was by a watchdog", async () => {
    board = await setUpBoard({ hub: { api: "2.4" }, config });
    await board.start();
    await keepFacts();
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
    board.hub.reboot(IDENTIFIER);
    await board.untilRebooted(1);
    await board.reboot();
    const [panic, ...rest] = await errors(1);
    assert.deepEqual([panic?.kind, rest], ["panic", []]);
  });

  it("are offered to no hub that does not know them", async () => {
    board = await setUpBoard({ config: { extensions: { health: true, error_reports: true } } });
    await board.start();
    await board.hub.until(() => board.hub.device(IDENTIFIER).attached.has("health"));
    const socket = await daemon();
    const { extension_states: states } = (await socket.request("status")) as AgentStatus;
    assert.deepEqual(
      states.find(({ name }) => name === "error_reports"),
      { name: "error_reports", state: "off_at_hub", version: null },
    );
    socket.close();
  });

  it("are the crash of the agent before", async () => {
    board = await setUpBoard({ hub: { api: "2.4" }, config });
    const preload = join(board.dir, "crash.mjs");
    const thrown = 'new RangeError("out of pumps, see https://u:secret@host/?secret")';
    await writeFile(preload, `process.on("SIGUSR2", () => void Promise.reject(${thrown}));\n`);
    const program = await start(["run", "--config", await board.writeConfig()], {
      env: { NODE_OPTIONS: `--import ${preload}` },
    });
    await program.logged(/hublink started/);
    program.child.kill("SIGUSR2");
    const { code, stderr } = await program.ended;
    await end(program);
    assert.equal(code, 1);
    assert.match(stderr, /out of pumps/);
    assert.doesNotMatch(await readFile(join(board.config().state.dir, "crashes.json"), "utf8"), /secret/);
    await board.start();
    const [crash] = await errors(1);
    assert.deepEqual(
      [crash?.kind, crash?.reason],
      ["crash", "RangeError: out of pumps, see https://…@host/?…"],
    );
    assert.match(crash?.context["agent"] ?? "", /^hublink \d/);
  });
});
