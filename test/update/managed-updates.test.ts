/** When a board that chooses the moment of its updates asks for them by itself. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { Available, UpdateMode } from "../../src/hub/device-messages.ts";
import { silentLog } from "../../src/platform/log.ts";
import type { Decision } from "../../src/update/decide.ts";
import { ManagedUpdates } from "../../src/update/managed-updates.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { testWorld } from "../platform/world.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

describe("a board that manages its updates", () => {
  let clock: FakeClock;
  let mode: UpdateMode["mode"];
  let available: Available;
  let decision: Decision;
  let calls: string[];
  let state: "idle" | "writing";
  let managed: ManagedUpdates | undefined;
  beforeEach(() => {
    clock = new FakeClock();
    mode = "device_managed";
    available = { available: true, firmware_meta: { uuid: "uuid-2" } };
    decision = { action: "apply" };
    calls = [];
    state = "idle";
    managed = undefined;
  });
  afterEach(async () => {
    await managed?.stop();
    assert.equal(clock.pending, 0, "no timer is left behind");
  });
  const start = (config: { window?: string[]; policyCommand?: string }): ManagedUpdates => {
    managed = new ManagedUpdates({
      config: { window: [], policyCommand: "", ...config },
      hubUpdates: {
        get mode() {
          return { mode, managed_updates_allowed: true };
        },
        check: async () => {
          calls.push("check");
          return Promise.resolve(available);
        },
        request: async () => {
          calls.push("request");
          return Promise.resolve({ granted: false, reason: "no_update", delayMs: undefined } as const);
        },
      },
      approval: {
        mayAsk: async ({ announced }) => {
          calls.push(`policy ${announced.uuid ?? ""}`);
          return Promise.resolve(decision);
        },
      },
      updater: {
        get status() {
          return {
            ...{ state, uuid: null, percent: 0, waiting: undefined, stillForMs: undefined },
            held: undefined,
          };
        },
      },
      link: { hubTimeMs: () => clock.now() },
      world: testWorld({ clock, random: () => 0.5 }),
      log: silentLog,
    });
    managed.modeChanged();
    return managed;
  };
  /** A window that opens in this many minutes, and lasts one hour. */
  const windowIn = (minutes: number): string => {
    const time = (ms: number): string => new Date(ms).toTimeString().slice(0, 5);
    const opens = clock.now() + minutes * MINUTE_MS;
    return `${time(opens)}-${time(opens + HOUR_MS)}`;
  };

  it("asks in the first tenth of the next window, and each day", async () => {
    start({ window: [windowIn(120)] });
    await clock.advance(2 * HOUR_MS);
    assert.deepEqual(calls, []);
    await clock.advance(6 * MINUTE_MS);
    assert.deepEqual(calls, ["check", "policy uuid-2", "request"]);
    await clock.advance(20 * HOUR_MS);
    assert.equal(calls.length, 3);
    await clock.advance(5 * HOUR_MS);
    assert.equal(calls.length, 6);
  });

  it("asks each hour where its policy command decides alone", async () => {
    start({ policyCommand: "true" });
    await clock.advance(0);
    assert.equal(calls.length, 3);
    await clock.advance(2 * HOUR_MS);
    assert.equal(calls.length, 9);
  });

  it("asks the hub for no update that its policy does not want, or when there is none", async () => {
    decision = { action: "ignore", reason: "not on a Monday" };
    start({ policyCommand: "false" });
    await clock.advance(0);
    assert.deepEqual(calls, ["check", "policy uuid-2"]);
    available = { available: false, firmware_meta: {} };
    await clock.advance(HOUR_MS);
    assert.deepEqual(calls.slice(2), ["check"]);
  });

  it("does not ask while an update is under way", async () => {
    state = "writing";
    start({ policyCommand: "true" });
    await clock.advance(0);
    assert.deepEqual(calls, []);
  });

  it("leaves it to people and applications without a window and a policy command", async () => {
    start({});
    await clock.advance(24 * HOUR_MS);
    assert.deepEqual(calls, []);
  });

  it("leaves it to the hub in the other modes, also when the mode changes", async () => {
    mode = "automatic";
    const updates = start({ policyCommand: "true" });
    await clock.advance(2 * HOUR_MS);
    assert.deepEqual(calls, []);
    mode = "device_managed";
    updates.modeChanged();
    updates.modeChanged(); // said again at a join
    await clock.advance(0);
    assert.equal(calls.length, 3);
    mode = "off";
    updates.modeChanged();
    await clock.advance(2 * HOUR_MS);
    assert.equal(calls.length, 3);
  });
});
