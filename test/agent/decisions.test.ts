/**
 * Who decides on an update (window, policy command, application) and on its reboot, on a whole agent with
 * fake clocks.
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, it } from "node:test";
import { connectToDaemon } from "../../src/control/client.ts";
import type { Release } from "../hub/releases.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { IDENTIFIER, setUpBoard, type TestBoard } from "./board.ts";
import { controlPeer, type ControlPeer, type Message } from "./control-peer.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** A status that the board sent. */
interface Status {
  readonly status: string;
  readonly reason?: string;
  readonly delay_for?: number;
}

describe("deciding on an update", () => {
  let board: TestBoard;
  let release: Release;
  /** The agent's time. */
  let clock: FakeClock;
  /** The hub's clock. It only jumps, so that none of the hub's own timers run. */
  let hubClock: FakeClock;
  let peers: ControlPeer[] = [];
  afterEach(async () => {
    for (const peer of peers) await peer.close();
    peers = [];
    await board.remove();
    assert.equal(clock.pending, 0, "no timer is left behind");
  });

  const setUp = async (
    config: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
    agentTimeMs?: number,
  ): Promise<void> => {
    clock = new FakeClock(agentTimeMs);
    hubClock = new FakeClock();
    board = await setUpBoard({
      // No test moves the clock this far; else an answer on its way would count as a missed heartbeat.
      config: { hub: { heartbeat_s: 3600 }, ...config },
      hub: { clock: hubClock },
      clock,
    });
    const v2 = await board.firmware("2.0.0");
    release = await board.hub.publish(v2.path, v2.meta);
  };
  const online = async (): Promise<void> => board.hub.until(() => board.hub.device(IDENTIFIER).online);
  const start = async (): Promise<void> => {
    await board.start();
    await online();
  };
  /** The next status of that kind, counted from message `from` on. */
  const nextStatus = async (status: string, from = 0): Promise<Status> => {
    const isIt = ({ event, payload }: { event: unknown; payload: unknown }): boolean =>
      event === "status_update" && (payload as Status).status === status;
    return (await board.hub.waitFor(IDENTIFIER, isIt, from)).payload as Status;
  };
  const heard = (): number => board.hub.device(IDENTIFIER).received.length;
  const words = (): string[] => board.hub.device(IDENTIFIER).statuses.map(({ status }) => status);
  const rebooting = async (): Promise<unknown> =>
    board.hub.waitFor(IDENTIFIER, ({ event }) => event === "rebooting");
  const pass = async (ms: number): Promise<void> => {
    hubClock.jump(ms);
    await clock.advance(ms);
  };
  const application = async (hello: object = { role: "controller" }): Promise<ControlPeer> => {
    const peer = await controlPeer(board.config().state.controlSocket, hello);
    peers.push(peer);
    assert.equal((await peer.next())["type"], "welcome");
    return peer;
  };
  /** The next question to the application. */
  const question = async (peer: ControlPeer, method: string): Promise<Message> => {
    const message = await peer.next();
    assert.equal(message["method"], method);
    return message;
  };
  const answer = (peer: ControlPeer, { id }: Message, result: unknown): void =>
    peer.send({ type: "response", id, result });
  /** A window that opens in this many minutes by the hub's clock, and lasts one hour. */
  const windowIn = (minutes: number): string => {
    const time = (ms: number): string => new Date(ms).toTimeString().slice(0, 5);
    const opens = new FakeClock().now() + minutes * MINUTE;
    return `${time(opens)}-${time(opens + HOUR)}`;
  };

  describe("outside the update window", () => {
    it("asks 36: the hub learns when to send it again, and the agent joins again at that time", async () => {
      await setUp({ update: { window: [windowIn(30)] } });
      await start();
      board.hub.deploy(release);
      const { reason, delay_for = 0 } = await nextStatus("rescheduled");
      assert.match(reason ?? "", /outside the board's update window/);
      assert.ok(delay_for >= 30 * MINUTE && delay_for <= 36 * MINUTE, String(delay_for));
      await pass(delay_for - 1);
      assert.equal(board.hub.device(IDENTIFIER).joins.length, 1);
      await pass(10_001);
      await nextStatus("completed");
      await rebooting();
      assert.deepEqual(words(), ["received", "rescheduled", "received", "started", "completed"]);
      assert.equal(board.hub.device(IDENTIFIER).joins.length, 2);
      assert.equal(board.hub.device(IDENTIFIER).connections, 1, "the connection was kept");
      assert.deepEqual(board.hub.device(IDENTIFIER).crashes, []);
    });

    it("asks 36: the next agent asks for it at that time, when this one has ended before", async () => {
      await setUp({ update: { window: [windowIn(30)] } });
      await start();
      board.hub.deploy(release);
      const { delay_for = 0 } = await nextStatus("rescheduled");
      const from = heard();
      await board.restart();
      const { joins } = board.hub.device(IDENTIFIER);
      const joined = ({ event }: { event: unknown }): boolean => event === "report_network_interface";
      await board.hub.waitFor(IDENTIFIER, joined, from); // the agent knows that it has joined, so the clock may move
      await pass(delay_for - 1);
      assert.equal(joins.length, 2);
      await pass(10_001);
      await nextStatus("completed");
      await rebooting();
      assert.equal(joins.length, 3);
    });

    it("a board whose own clock is in 1970 uses the hub's time", async () => {
      await setUp({ update: { window: [windowIn(0)] } }, 0);
      await start();
      board.hub.deploy(release);
      await nextStatus("completed");
      await rebooting();
    });

    it("a person at the board can apply a file at any time, and the application is not asked", async () => {
      await setUp({
        update: { window: [windowIn(30)], policy_command: "exit 1", allow_downgrade: false },
        app: { update: "ask", on_no_controller: "ignore" },
      });
      await start();
      const old = await board.firmware("0.9.0");
      const daemon = await connectToDaemon({ path: board.config().state.controlSocket });
      await daemon?.request("apply", { source: old.path });
      daemon?.close();
      assert.equal((await board.environment()).get("b.nerves_fw_version"), "0.9.0");
      assert.deepEqual(words(), []);
    });
  });

  describe("with a policy command", () => {
    it("it gets the update on its standard input, and can put the update off", async () => {
      await setUp({});
      const file = join(board.dir, "question");
      await board.start({
        update: { policy_command: `cat > ${file}; echo 90; echo the harvest is on; exit 75` },
      });
      await online();
      const { id } = board.hub.deploy(release);
      assert.deepEqual(await nextStatus("rescheduled"), {
        status: "rescheduled",
        delay_for: 90 * MINUTE,
        reason: "the harvest is on",
      });
      const { uuid, version, product, platform, architecture } = release.meta;
      assert.deepEqual(JSON.parse(await readFile(file, "utf8")), {
        firmware: { uuid, version, product, platform, architecture },
        size: release.sizeBytes,
        deployment_id: id,
        running: { uuid: board.v1.uuid, version: "1.0.0", product, platform, architecture },
      });
    });

    it("it can refuse the update, and the hub gets the reason", async () => {
      await setUp({ update: { policy_command: "echo this board is a museum piece; exit 1" } });
      await start();
      board.hub.deploy(release);
      assert.deepEqual(await nextStatus("ignored"), {
        status: "ignored",
        reason: "this board is a museum piece",
      });
      assert.deepEqual(board.hub.downloads, []);
    });
  });

  describe("with an application that is asked", () => {
    const ASK = { app: { update: "ask", on_no_controller: "ignore", on_timeout: "ignore" } };

    it("the application gets the update's data, and can let it be installed", async () => {
      await setUp(ASK);
      await start();
      const app = await application();
      const { id } = board.hub.deploy(release);
      const asked = await question(app, "update_available");
      const { uuid, version, product, platform, architecture } = release.meta;
      assert.deepEqual(asked["params"], {
        firmware: { uuid, version, product, platform, architecture },
        size: release.sizeBytes,
        deployment_id: id,
      });
      assert.deepEqual(words(), ["received"]);
      answer(app, asked, { action: "apply" });
      await nextStatus("completed");
      await rebooting();
    });

    it("asks 36: the application can put the update off for short times: the board asks it again by itself", async () => {
      await setUp(ASK);
      await start();
      const app = await application();
      board.hub.pushUpdate(IDENTIFIER, release); // the hub sends it only once
      for (const reason of ["milking", "still milking", "cleaning"]) {
        answer(app, await question(app, "update_available"), {
          action: "reschedule",
          delay_ms: 3 * MINUTE,
          reason,
        });
        await board.saw(new RegExp(`the update is rescheduled: ${reason}`));
        await pass(3 * MINUTE);
      }
      answer(app, await question(app, "update_available"), { action: "apply" });
      await nextStatus("completed");
      await rebooting();
      const { statuses, joins } = board.hub.device(IDENTIFIER);
      assert.deepEqual(words(), ["received", "rescheduled", "started", "completed"]);
      assert.equal(statuses[1]?.reason, "milking");
      assert.equal(joins.length, 1, "the hub was not asked for it");
    });

    it("an update that is put off for a short time gives way to another one of the hub", async () => {
      await setUp(ASK);
      await start();
      const app = await application();
      const v3 = await board.firmware("3.0.0");
      const third = await board.hub.publish(v3.path, v3.meta);
      board.hub.pushUpdate(IDENTIFIER, release);
      const asked = await question(app, "update_available");
      answer(app, asked, { action: "reschedule", delay_ms: 7 * MINUTE, reason: "milking" });
      await nextStatus("rescheduled");
      board.hub.pushUpdate(IDENTIFIER, release); // the same once more, with a fresh URL
      await board.saw(/the same update again: it waits on the board/);
      board.hub.pushUpdate(IDENTIFIER, third);
      const next = await question(app, "update_available");
      assert.equal(((next["params"] as Message)["firmware"] as Message)["version"], "3.0.0");
      answer(app, next, { action: "ignore", reason: "not that one" });
      await nextStatus("ignored");
      assert.deepEqual(words(), ["received", "rescheduled", "received", "ignored"]);
      await pass(HOUR);
      app.send({ type: "request", id: "last", method: "status" });
      assert.equal((await app.next())["id"], "last", "nobody is asked about the first any more");
    });

    it("asks 22: when the application disconnects before it answers, the configuration decides at once", async () => {
      await setUp(ASK);
      await start();
      const app = await application();
      board.hub.deploy(release);
      await question(app, "update_available");
      await app.close();
      assert.deepEqual(await nextStatus("ignored"), {
        status: "ignored",
        reason: "no application is there to answer",
      });
    });

    it("asks 22: when the application does not answer in time, the configuration decides", async () => {
      await setUp(ASK);
      await start();
      const app = await application();
      board.hub.deploy(release);
      await question(app, "update_available");
      await pass(30_000);
      assert.match((await nextStatus("ignored")).reason ?? "", /no answer in 30 s/);
    });

    it("a second application that wants to be the controller is refused, and the first is asked", async () => {
      await setUp(ASK);
      await start();
      const first = await application();
      const second = await controlPeer(board.config().state.controlSocket, { role: "controller" });
      peers.push(second);
      assert.equal(((await second.next())["error"] as Message)["code"], "controller_taken");
      board.hub.deploy(release);
      answer(first, await question(first, "update_available"), { action: "ignore", reason: "mine" });
      assert.equal((await nextStatus("ignored")).reason, "mine");
    });

    it("asks 24: a hub that is joined again in between learns which update waits for the decision", async () => {
      await setUp(ASK);
      await start();
      const app = await application();
      board.hub.deploy(release);
      const asked = await question(app, "update_available");
      board.hub.crashChannel(IDENTIFIER, "device");
      await board.saw(/joining again/);
      await clock.advance(2000);
      await board.hub.until(() => board.hub.device(IDENTIFIER).joins.length === 2);
      const join = board.hub.device(IDENTIFIER).joins.at(-1) as Record<string, unknown>;
      assert.equal(join["currently_downloading_uuid"], release.meta.uuid);
      answer(app, asked, { action: "ignore", reason: "no" });
      await nextStatus("ignored");
    });

    it("another update waits until the first is decided, and the same one again is ignored", async () => {
      await setUp(ASK);
      await start();
      const app = await application();
      const v3 = await board.firmware("3.0.0");
      const third = await board.hub.publish(v3.path, v3.meta);
      board.hub.pushUpdate(IDENTIFIER, release);
      const asked = await question(app, "update_available");
      board.hub.pushUpdate(IDENTIFIER, release);
      board.hub.pushUpdate(IDENTIFIER, third);
      await board.saw(/another update waits/);
      answer(app, asked, { action: "ignore", reason: "not that one" });
      const next = await question(app, "update_available");
      assert.equal(((next["params"] as Message)["firmware"] as Message)["version"], "3.0.0");
      answer(app, next, { action: "ignore", reason: "nor that one" });
      await board.hub.until(() => words().filter((word) => word === "ignored").length === 2);
      assert.deepEqual(words(), ["received", "ignored", "received", "ignored"]);
    });

    it("a reboot that the hub asks for does not wait for the answer", async () => {
      await setUp(ASK);
      await start();
      const app = await application();
      board.hub.deploy(release);
      await question(app, "update_available");
      board.hub.reboot(IDENTIFIER);
      await rebooting();
    });

    it("when the agent stops during a question, the hub gets no false report", async () => {
      await setUp(ASK);
      await start();
      const app = await application();
      board.hub.deploy(release);
      await question(app, "update_available");
      await board.restart();
      await board.hub.until(() => board.hub.device(IDENTIFIER).joins.length === 2);
      assert.ok(!words().includes("failed"));
    });
  });

  it("asks 19, 23, 37: firmware on trial is not replaced; the update is installed once it is good", async () => {
    await setUp({ validation: { mode: "manual" } });
    await board.setEnvironment({ nerves_fw_validated: "0" });
    await start();
    const { joins } = board.hub.device(IDENTIFIER);
    const { meta } = joins[0] as Record<string, unknown>;
    assert.deepEqual(meta, { firmware_validated: false, firmware_auto_revert_detected: false });
    board.hub.pushUpdate(IDENTIFIER, release);
    const { reason, delay_for } = await nextStatus("rescheduled");
    assert.match(reason ?? "", /not validated yet/);
    assert.equal(delay_for, 5 * MINUTE);
    assert.equal((await board.environment()).get("b.nerves_fw_uuid"), undefined);

    await (await application({})).request("mark_valid");
    await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "firmware_validated");
    await nextStatus("completed"); // the hub has sent it only once
    await rebooting();
  });

  describe("the reboot into an installed update", () => {
    const ASK = { app: { reboot: "ask", max_defer_s: 3000 } };

    it("asks 36: can be put off by the application, up to max_defer_s, and the status shows it", async () => {
      await setUp(ASK);
      await start();
      const app = await application({ role: "controller", subscribe: ["reboot_pending"] });
      board.hub.deploy(release);
      const { uuid, version, product, platform, architecture } = release.meta;
      const asked = await question(app, "reboot_request");
      assert.deepEqual(asked["params"], { firmware: { uuid, version, product, platform, architecture } });
      answer(app, asked, { action: "defer", delay_ms: 25 * MINUTE, reason: "milking" });
      const pending = { deferred_until_ms: clock.now() + 25 * MINUTE };
      assert.deepEqual(await app.next(), { type: "event", event: "reboot_pending", payload: pending });
      const { result } = await app.request("status");
      assert.deepEqual((result as Message)["pending_reboot"], pending);

      const v3 = await board.firmware("3.0.0");
      board.hub.pushUpdate(IDENTIFIER, await board.hub.publish(v3.path, v3.meta));
      assert.match((await nextStatus("rescheduled")).reason ?? "", /waits for its reboot/);

      await pass(25 * MINUTE);
      answer(app, await question(app, "reboot_request"), { action: "defer", delay_ms: 9 * HOUR });
      assert.equal((await app.next())["event"], "reboot_pending");
      await pass(25 * MINUTE);
      await rebooting();
    });

    it("an operator's reboot does not wait for the application", async () => {
      await setUp(ASK);
      await start();
      const app = await application();
      board.hub.deploy(release);
      answer(app, await question(app, "reboot_request"), { action: "defer", delay_ms: 25 * MINUTE });
      await board.saw(/the reboot is put off: the application says so/);
      board.hub.reboot(IDENTIFIER);
      await rebooting();
    });

    it("a restarted agent asks again, and installs no other update before", async () => {
      await setUp(ASK);
      await start();
      const app = await application();
      board.hub.deploy(release);
      answer(app, await question(app, "reboot_request"), { action: "defer", delay_ms: 25 * MINUTE });
      await board.saw(/the reboot is put off/);
      await pass(MINUTE);
      const from = heard();
      await board.restart();
      await online();
      board.hub.pushUpdate(IDENTIFIER, release); // an operator sees a board that runs the old firmware
      await nextStatus("completed", from);
      const other = await board.firmware("3.0.0");
      board.hub.pushUpdate(IDENTIFIER, await board.hub.publish(other.path, other.meta));
      assert.match((await nextStatus("rescheduled", from)).reason ?? "", /waits for its reboot/);
      const back = await application();
      await pass(30_000);
      const asked = await question(back, "reboot_request");
      assert.equal(((asked["params"] as Message)["firmware"] as Message)["uuid"], release.meta.uuid);
      answer(back, asked, { action: "reboot" });
      await rebooting();
    });

    it("is left to the application with app.reboot = never", async () => {
      await setUp({ app: { reboot: "never" } });
      await start();
      const app = await application();
      board.hub.deploy(release);
      await nextStatus("completed");
      await board.saw(/its reboot is left to the application/);
      await pass(50 * MINUTE);
      assert.deepEqual(((await app.request("status"))["result"] as Message)["pending_reboot"], {
        deferred_until_ms: null,
      });
      assert.ok(!board.hub.device(IDENTIFIER).received.some(({ event }) => event === "rebooting"));
      await app.request("reboot");
      await rebooting();
    });
  });
});
