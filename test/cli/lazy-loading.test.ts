/** Which modules the program loads: each MiB that the daemon does not load is left to the board's application. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { IDENTIFIER, setUpBoard, type TestBoard } from "../agent/board.ts";
import { end, hublink, startDaemon, type Program } from "./program.ts";

/** Only undici loads this module of Node, so it shows whether undici is loaded. */
const MARKER = "NativeModule internal/http2/core";

describe("the program loads only the modules that it needs", () => {
  let board: TestBoard;
  let daemon: Program | undefined;
  let env: Readonly<Record<string, string>>;
  before(async () => {
    board = await setUpBoard();
    const spy = join(board.dir, "spy.cjs");
    // At its end, the process writes down which modules Node has loaded.
    await writeFile(
      spy,
      `const list = () => require("node:fs").writeFileSync(process.env.SPY_FILE, process.moduleLoadList.join("\\n"));
       process.on("exit", list);`,
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

  it("neither TLS nor HTTP for a command that needs no network", async () => {
    for (const args of [["--version"], ["metadata", board.v1.path], ["status"]]) {
      await hublink(args, { env });
      const modules = await loaded();
      for (const name of ["https", "http2", "tls"])
        assert.ok(!modules.includes(`NativeModule ${name}`), `${args.join(" ")} loads ${name}`);
    }
  });
});
