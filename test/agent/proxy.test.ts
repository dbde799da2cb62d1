/** A whole agent behind an HTTP proxy: the hub, downloads, and the proxy's own failures. */
import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";
import { startHttpProxy, type HttpProxy } from "../platform/http-proxy.ts";
import { holdAfter } from "./held-download.ts";
import { IDENTIFIER, setUpBoard, type TestBoard } from "./board.ts";

describe("a board behind a proxy", () => {
  let board: TestBoard;
  let proxy: HttpProxy;
  afterEach(async () => {
    await board.remove();
    await proxy.stop();
  });
  const online = async (): Promise<void> => board.hub.until(() => board.hub.device(IDENTIFIER).online);
  const login = (): string => proxy.url.replace("//", "//me:secret@");

  it("reaches hub and firmware through it, with a client certificate, and reconnects after it breaks off", async () => {
    board = await setUpBoard();
    proxy = await startHttpProxy({ credentials: Buffer.from("me:secret").toString("base64") });
    await board.start({ hub: { proxy: login() } });
    await online();
    const { joins } = board.hub.device(IDENTIFIER);
    const before = joins.length;
    proxy.cut();
    await board.hub.until(() => board.hub.device(IDENTIFIER).joins.length > before);
    await online();
    const v2 = await board.firmware("2.0.0");
    board.hub.deploy(await board.hub.publish(v2.path, v2.meta));
    await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "rebooting");
    const hub = `localhost:${board.hub.port}`;
    assert.deepEqual(proxy.asked, [hub, hub, new URL(board.hub.downloadUrl).host]);
    assert.doesNotMatch(board.logged.join("\n"), /secret|bWU6c2VjcmV0/);
  });

  describe("which the environment names", () => {
    const names = ["HTTPS_PROXY", "NO_PROXY", "https_proxy", "no_proxy"];
    const before = names.map((name) => process.env[name]);
    afterEach(() => {
      for (const [index, name] of names.entries()) setVariable(name, before[index]);
    });
    it("reaches the hub through it, and the board itself without it", async () => {
      board = await setUpBoard();
      proxy = await startHttpProxy();
      setVariable("HTTPS_PROXY", proxy.url);
      // Only the proxy knows this name.
      await board.start({ hub: { url: `wss://hub.test:${board.hub.port}`, server_name: "localhost" } });
      await online();
      const v2 = await board.firmware("2.0.0");
      board.hub.deploy(await board.hub.publish(v2.path, v2.meta)); // its URL is of localhost
      await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "rebooting");
      assert.deepEqual(proxy.asked, [`hub.test:${board.hub.port}`]);
    });

    it("uses no proxy for hosts in NO_PROXY", async () => {
      board = await setUpBoard();
      proxy = await startHttpProxy();
      setVariable("NO_PROXY", "localhost");
      await board.start({ hub: { proxy: proxy.url } });
      await online();
      assert.deepEqual(proxy.asked, []);
    });
  });

  it("goes on with a download that the proxy broke off", async () => {
    board = await setUpBoard();
    proxy = await startHttpProxy();
    await board.start({ hub: { proxy: proxy.url }, update: { retry: { delay_s: 0.01 } } });
    await online();
    const v2 = await board.firmware("2.0.0");
    const download = holdAfter(1024 * 1024 + 1);
    board.hub.faults.add(download, 1);
    board.hub.deploy(await board.hub.publish(v2.path, v2.meta));
    await download.held;
    proxy.cut();
    await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "rebooting");
    const [first, second, ...more] = board.hub.downloads.map(({ range }) => range ?? "all");
    assert.deepEqual([first, more], ["all", []]);
    assert.match(second ?? "", /^bytes=[1-9]\d*-$/); // bytes that were still in the proxy are fetched again
  });

  it("names the proxy that refuses, without its password", async () => {
    board = await setUpBoard();
    proxy = await startHttpProxy({ credentials: "others" });
    await board.start({ hub: { proxy: login() } });
    await board.saw(/no hub: the proxy 127\.0\.0\.1:\d+ wants another user or password \(407\)/);
    assert.doesNotMatch(board.logged.join("\n"), /secret/);
  });
});

function setVariable(name: string, value: string | undefined): void {
  if (value === undefined) Reflect.deleteProperty(process.env, name);
  else process.env[name] = value;
}
