import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { IDENTIFIER, setUpBoard, type TestBoard } from "../agent/board.ts";
import { end, hublink, startDaemon, type Program } from "./program.ts";

/** undici is what loads it, and nothing else here does: a module of Node's tells whether undici runs. */
const MARKER = "NativeModule internal/http2/core";

describe("the program loads only what it needs", () => {
  let board: TestBoard;
  let daemon: Program | undefined;
  let env: Readonly<Record<string, string>>;
  before(async () => {
    board = await setUpBoard();
    const spy = join(board.dir, "spy.cjs");
    // At its end the process says what Node has loaded for it.
    await writeFile(
      spy,
      `const tell = () => require("node:fs").writeFileSync(process.env.SPY_FILE, process.moduleLoadList.join("\\n"));
       process.on("exit", tell);`,
    );
    env = { NODE_OPTIONS: `--require ${spy}`, SPY_FILE: join(board.dir, "loaded") };
  });
  after(async () => {
    await end(daemon);
    await board.remove();
  });
  const loaded = async (): Promise<string[]> => (await readFile(env["SPY_FILE"] ?? "", "utf8")).split("\n");

  it("undici with the first download, not before", async () => {
    const config = await board.writeConfig();
    daemon = await startDaemon(config, { env });
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
    daemon.child.kill("SIGTERM");
    await daemon.ended;
    const idle = await loaded();
    assert.ok(idle.includes("NativeModule net"));
    assert.ok(!idle.includes(MARKER));

    const v2 = await board.firmware("2.0.0");
    board.hub.deploy(await board.hub.publish(v2.path, v2.meta));
    daemon = await startDaemon(config, { env });
    await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "rebooting");
    await board.untilRebooted(1);
    daemon.child.kill("SIGTERM");
    await daemon.ended;
    assert.ok((await loaded()).includes(MARKER));
  });

  it("no TLS and no HTTP for a command that has its answer on the board", async () => {
    for (const args of [["--version"], ["metadata", board.v1.path], ["status"]]) {
      await hublink(args, { env });
      const modules = await loaded();
      for (const name of ["https", "http2", "tls"])
        assert.ok(!modules.includes(`NativeModule ${name}`), `${args.join(" ")} loads ${name}`);
    }
  });
});
