/** What the board asks its hub about updates, against a hub that the test plays. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { parseHubMessage, type DeviceMessage, type Update } from "../../src/hub/device-messages.ts";
import { failedWith } from "../../src/platform/failure.ts";
import { silentLog } from "../../src/platform/log.ts";
import { HubUpdates } from "../../src/update/hub-updates.ts";
import { FakeClock } from "../platform/fake-clock.ts";

const MINUTE_MS = 60_000;
const AUTOMATIC = { mode: "automatic", managed_updates_allowed: true } as const;

function updateOf(uuid: string): Update {
  const message = parseHubMessage("update", {
    firmware_url: "https://files.example.com/x.fw",
    firmware_meta: { uuid },
  });
  assert(message.type === "update");
  return message.update;
}

describe("what the board asks its hub about updates", () => {
  let clock: FakeClock;
  let joined: boolean;
  let sent: DeviceMessage[];
  let rejoins: number;
  let busy: number[];
  let updates: HubUpdates;
  beforeEach(() => {
    clock = new FakeClock();
    joined = true;
    sent = [];
    rejoins = 0;
    busy = [];
    const hub = {
      get joined() {
        return joined;
      },
      rejoin: () => void (rejoins += 1),
      send: (message: DeviceMessage) => sent.push(message) > 0,
    };
    updates = new HubUpdates({ hub, clock, log: silentLog });
    updates.on("busy", (delayMs) => busy.push(delayMs));
  });
  afterEach(async () => {
    updates.stop();
    await clock.advance(0); // those who ask hear of it
    assert.equal(clock.pending, 0, "no timer is left behind");
  });
  const events = (): string[] => sent.map(({ event }) => event);

  it("whether there is an update, is answered for all who asked", async () => {
    const answers = Promise.all([updates.check(), updates.check()]);
    const available = { available: true, firmware_meta: { uuid: "uuid-2", version: "2.0.0" } };
    updates.availableArrived(available);
    assert.deepEqual(await answers, [available, available]);
    assert.deepEqual(events(), ["check_update", "check_update"]);
  });

  it("is an error with a hub that knows no such question, and nobody waits on", async () => {
    const asked = [updates.check(), updates.request(), updates.setMode("automatic")];
    const answers = Promise.allSettled(asked);
    await clock.advance(10_000);
    for (const answer of await answers) {
      assert(answer.status === "rejected");
      assert.ok(failedWith(answer.reason, "hub_unanswered"));
      assert.match(String(answer.reason), /hubs before device API 2\.4\.0 know no such question/);
    }
  });

  it("is an error at once without a hub", async () => {
    joined = false;
    await assert.rejects(updates.request(), (error) => failedWith(error, "not_connected"));
    assert.deepEqual(sent, []);
  });

  it("ends when the agent stops", async () => {
    const asked = updates.request();
    updates.stop();
    await assert.rejects(asked, (error) => failedWith(error, "stopped"));
  });

  it("an update that is granted comes as any other", async () => {
    const asked = updates.request();
    const update = updateOf("uuid-2");
    updates.updateArrived(update);
    assert.deepEqual(await asked, { granted: true, update });
  });

  it("a busy hub is not asked again before the time that it said, in minutes", async () => {
    const asked = updates.request();
    const message = parseHubMessage("update_rejected", { reason: "busy", delay_for: 5 });
    assert(message.type === "update-rejected");
    updates.rejected(message.reason, message.delayMs);
    assert.deepEqual(await asked, { granted: false, reason: "busy", delayMs: 5 * MINUTE_MS });
    assert.deepEqual(busy, [5 * MINUTE_MS]);
    await clock.advance(5 * MINUTE_MS - 1);
    assert.deepEqual(await updates.request(), { granted: false, reason: "busy", delayMs: 1 });
    assert.deepEqual(events(), ["request_update"]);
    await clock.advance(1);
    void updates.request().catch(() => undefined);
    assert.deepEqual(events(), ["request_update", "request_update"]);
  });

  it("a hub that sends the update by itself is busy no longer", () => {
    updates.rejected("busy", 5 * MINUTE_MS);
    updates.updateArrived(updateOf("uuid-2"));
    void updates.request().catch(() => undefined);
    assert.deepEqual(events(), ["request_update"]);
  });

  it("the mode is the one that the hub says, also when it refuses another", async () => {
    assert.equal(updates.mode, undefined);
    const taken = updates.setMode("device_managed");
    updates.modeArrived({ mode: "device_managed", managed_updates_allowed: true });
    assert.equal((await taken).mode, "device_managed");
    for (const [answer, words] of [
      [{ mode: "automatic", managed_updates_allowed: false }, /it is automatic, and boards may not manage/],
      [{ mode: "off", managed_updates_allowed: true }, /its updates are switched off there/],
    ] as const) {
      const refused = updates.setMode("device_managed");
      updates.modeArrived(answer);
      await assert.rejects(
        refused,
        (error) => failedWith(error, "update_mode_refused") && words.test(String(error)),
      );
      assert.deepEqual(updates.mode, answer);
    }
  });

  describe("an update that was put off", () => {
    it("is asked for where the hub knows the question, and no join is made", async () => {
      updates.modeArrived(AUTOMATIC);
      const asked = updates.askAgain();
      updates.updateArrived(updateOf("uuid-2"));
      await asked;
      assert.deepEqual([events(), rejoins], [["request_update"], 0]);
    });

    it("is not asked for in the mode off, in which the hub would refuse it: the join brings what an operator sent", async () => {
      updates.modeArrived({ mode: "off", managed_updates_allowed: true });
      assert.equal(updates.grants, false);
      await updates.askAgain();
      assert.deepEqual([events(), rejoins], [[], 1]);
    });

    it("needs a join with older hubs, and with those that give no answer", async () => {
      await updates.askAgain();
      assert.deepEqual([events(), rejoins], [[], 1]);
      updates.modeArrived(AUTOMATIC);
      const asked = updates.askAgain();
      await clock.advance(10_000);
      await asked;
      assert.deepEqual([events(), rejoins], [["request_update"], 2]);
    });
  });
});
