/** Every method and event of the control socket, on a whole agent. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { afterEach, describe, it } from "node:test";
import { IDENTIFIER, setUpBoard, type TestBoard, type TestBoardOptions } from "./board.ts";
import { holdAfter } from "./held-download.ts";
import { controlPeer, type ControlPeer, type Message } from "./control-peer.ts";

/** Applications written for nerves-hub-link-agent rely on these promises of its docs/ipc.md. */
describe("an application on the control socket", () => {
  let board: TestBoard;
  let application: ControlPeer | undefined;
  afterEach(async () => {
    await application?.close();
    application = undefined;
    await board.remove();
  });
  const setUp = async (options?: TestBoardOptions, subscribe: string[] = []): Promise<ControlPeer> => {
    board = await setUpBoard(options);
    await board.start();
    application = await controlPeer(join(board.dir, "hublink.sock"), { subscribe });
    assert.equal((await application.next())["type"], "welcome");
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
    return application;
  };
  const firmware = (version: string, uuid: string): Message => ({
    uuid,
    version,
    product: "demo-board",
    platform: "rpi0",
    architecture: "arm",
  });
  const codeOf = ({ error }: Message): string => (error as { readonly code: string }).code;

  it("asks for the status", async () => {
    const { request } = await setUp();
    const { result } = await request("status");
    const { connection, identifier, update_tool, update, pending_validation, ...rest } = result as Message;
    assert.deepEqual(
      { connection, identifier, update_tool, update, pending_validation, firmware: rest["firmware"] },
      {
        connection: "connected",
        identifier: IDENTIFIER,
        update_tool: "fwup",
        update: null,
        pending_validation: false,
        firmware: firmware("1.0.0", board.v1.uuid),
      },
    );
  });

  it("marks the running firmware good, and the hub gets a report", async () => {
    const { request } = await setUp({ config: { validation: { mode: "manual" } } });
    const v2 = await board.firmware("2.0.0");
    assert.deepEqual((await request("apply", { source: v2.path }))["result"], {
      firmware: firmware("2.0.0", v2.uuid),
    });
    await board.setBootId("boot-2");
    await board.restart();
    application = await controlPeer(join(board.dir, "hublink.sock"), {});
    const pending = (await application.request("status"))["result"] as Message;
    assert.equal(pending["pending_validation"], true);
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
    assert.deepEqual((await application.request("mark_valid"))["result"], {});
    await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "firmware_validated");
    assert.equal((await board.environment()).get("nerves_fw_validated"), "1");
    const marked = (await application.request("status"))["result"] as Message;
    assert.equal(marked["pending_validation"], false);
  });

  it("reboots the board, after the hub got a report", async () => {
    const { request } = await setUp();
    assert.deepEqual((await request("reboot", { reason: "tired" }))["result"], {});
    await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "rebooting");
    await board.untilRebooted(1);
    assert.equal(codeOf(await request("reboot", { reason: 7 })), "unsupported");
  });

  it("hears that a reboot waits for the update under way", async () => {
    const { request } = await setUp();
    const v2 = await board.firmware("2.0.0");
    const hold = holdAfter(1_500_000);
    board.hub.faults.add(hold, 1);
    board.hub.pushUpdate(IDENTIFIER, await board.hub.publish(v2.path, v2.meta));
    await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "fwup_progress");
    assert.deepEqual((await request("reboot"))["result"], { waits_for_update: true });
    hold.goOn();
    await board.untilRebooted(1);
  });

  it("publishes metrics without an error", async () => {
    const { request } = await setUp();
    assert.deepEqual((await request("metrics", { values: { queue: 3 } }))["result"], {});
    for (const params of [{ values: "many" }, {}, undefined])
      assert.equal(codeOf(await request("metrics", params)), "unsupported", JSON.stringify(params));
  });

  it("declares components when the configuration lets it, and is told what is wrong with them", async () => {
    const { request } = await setUp({ config: { extensions: { components: true } } });
    const valve = { identifier: "valve" };
    assert.deepEqual((await request("components", { components: [valve] }))["result"], {});
    for (const params of [
      {},
      undefined,
      { components: [{ identifier: "two words" }] },
      { components: valve },
    ])
      assert.equal(codeOf(await request("components", params)), "unsupported", JSON.stringify(params));
    const { error } = await request("components", { components: [valve, valve] });
    assert.match(JSON.stringify(error), /there is a component valve already/);
  });

  it("gets an error for a method that it may not call", async () => {
    const { request } = await setUp();
    for (const method of [
      ...["update_available", "reboot_request", "identify"],
      ...["component_action", "component_mode"],
    ])
      assert.equal(codeOf(await request(method)), "wrong_direction");
    assert.equal(codeOf(await request("upload", { path: "x" })), "unsupported");
    assert.equal(codeOf(await request("report_error", { reason: "x" })), "config", "not enabled");
    assert.equal(codeOf(await request("dance")), "unknown_method");
    assert.equal(codeOf(await request("apply", {})), "unsupported");
    assert.equal(codeOf(await request("apply", { source: "/missing.fw" })), "no_input");
  });

  it("follows an update from the hub", async () => {
    const { next } = await setUp({}, ["update_progress", "update_installed"]);
    const v2 = await board.firmware("2.0.0");
    board.hub.deploy(await board.hub.publish(v2.path, v2.meta));
    const percents: unknown[] = [];
    let event = await next();
    for (; event["event"] === "update_progress"; event = await next()) {
      const { stage, percent } = event["payload"] as Message;
      assert.equal(stage, "updating");
      percents.push(percent);
    }
    assert.equal(percents.at(-1), 100);
    assert.deepEqual(event, {
      type: "event",
      event: "update_installed",
      payload: { firmware: firmware("2.0.0", v2.uuid) },
    });
    await board.untilRebooted(1);
  });

  it("gets the reason when an update fails", async () => {
    const { next, request } = await setUp({}, ["update_failed"]);
    const v2 = await board.firmware("2.0.0", { platform: "another" });
    board.hub.pushUpdate(IDENTIFIER, await board.hub.publish(v2.path, v2.meta));
    const { event, payload } = await next();
    assert.equal(event, "update_failed");
    const { reason, failure } = payload as Message;
    assert.match(String(reason), /^the firmware is not for this board: platform is "another"/);
    assert.equal(failure, "wrong_target");
    const status = (await request("status"))["result"] as Message;
    assert.deepEqual(status["last_update"], { uuid: v2.uuid, status: "failed", reason, failure });
  });

  it("gets an event when the connection ends and when it is back", async () => {
    const { next } = await setUp({}, ["connection"]);
    const states = async (last: string): Promise<unknown[]> => {
      const seen: unknown[] = [];
      while (seen.at(-1) !== last) seen.push(((await next())["payload"] as Message)["state"]);
      return seen;
    };
    board.hub.terminate(IDENTIFIER);
    await states("disconnected");
    assert.deepEqual(await states("connected"), ["connecting", "connected"]);
  });
});
