/** How the agent reads the application's answers; test/control/questions.test.ts tests how they arrive. */
import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { Application } from "../../src/update/application.ts";
import type { Config } from "../../src/config/schema.ts";
import type { ControllerAnswer } from "../../src/control/questions.ts";
import { silentLog } from "../../src/platform/log.ts";

const FIRMWARE = { uuid: "u2", version: "2.0.0", product: "demo", platform: "rpi0", architecture: "arm" };
const QUESTION = { firmware: FIRMWARE, size: 1234, deployment_id: 7, running: null };
const CONFIG: Config["app"] = {
  update: "ask",
  reboot: "ask",
  askTimeoutMs: 30_000,
  maxDeferMs: 86_400_000,
  onTimeout: "reschedule",
  onNoController: "ignore",
};
const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

describe("the application's answer", () => {
  let asked: unknown[];
  let signal: AbortSignal;
  beforeEach(() => {
    asked = [];
    signal = new AbortController().signal;
  });
  const application = (answer: ControllerAnswer, config: Partial<Config["app"]> = {}): Application =>
    new Application(
      { ...CONFIG, ...config },
      {
        async ask(...question) {
          asked.push(question);
          return Promise.resolve(answer);
        },
      },
      silentLog,
    );
  const says = (result: unknown): ControllerAnswer => ({ type: "result", result });

  it("is requested with the protocol's method and parameters", async () => {
    await application(says({ action: "apply" })).mayUpdate(QUESTION, signal);
    await application(says({ action: "reboot" })).mayReboot(FIRMWARE, signal);
    const options = { timeoutMs: 30_000, signal };
    assert.deepEqual(asked, [
      ["update_available", { firmware: FIRMWARE, size: 1234, deployment_id: 7 }, options],
      ["reboot_request", { firmware: FIRMWARE }, options],
    ]);
  });

  const noAnswer = "the application gave no answer in 30 s";
  const nonsense = "the application gave an answer that can't be understood";
  const later = (reason: string, delayMs = 5 * MINUTE): object => ({ action: "reschedule", delayMs, reason });
  const updates: [what: string, answer: ControllerAnswer, decision: object][] = [
    ["apply", says({ action: "apply" }), { action: "apply" }],
    ["ignore", says({ action: "ignore", reason: "no" }), { action: "ignore", reason: "no" }],
    [
      "ignore without a reason",
      says({ action: "ignore" }),
      { action: "ignore", reason: "the application says so" },
    ],
    ["reschedule", says({ action: "reschedule", delay_ms: 90_000, reason: "busy" }), later("busy", 90_000)],
    [
      "reschedule by a fraction",
      says({ action: "reschedule", delay_ms: 90_000.4, reason: "busy" }),
      later("busy", 90_000),
    ],
    ["reschedule by nothing", says({ action: "reschedule", delay_ms: 0, reason: "x" }), later("x", MINUTE)],
    [
      "reschedule for ever",
      says({ action: "reschedule", delay_ms: 1e300, reason: "x" }),
      later("x", 7 * DAY),
    ],
    ["reschedule without a delay", says({ action: "reschedule" }), later(nonsense)],
    ["an unknown action", says({ action: "explode" }), later(nonsense)],
    ["null", says(null), later(nonsense)],
    [
      "an error",
      { type: "error", code: "unsupported", message: "what?" },
      later("the application answered with an error: what?"),
    ],
    ["no answer in time", { type: "timeout" }, later(noAnswer)],
    [
      "no application",
      { type: "no-controller" },
      { action: "ignore", reason: "no application is there to answer" },
    ],
  ];
  for (const [what, answer, decision] of updates) {
    it(`to an update: ${what}`, async () => {
      assert.deepEqual(await application(answer).mayUpdate(QUESTION, signal), decision);
    });
  }

  it("to an update is the configured one when none comes", async () => {
    const config = { onTimeout: "ignore", onNoController: "apply" } as const;
    const ask = async (answer: ControllerAnswer): Promise<unknown> =>
      application(answer, config).mayUpdate(QUESTION, signal);
    assert.deepEqual(await ask({ type: "timeout" }), { action: "ignore", reason: noAnswer });
    assert.deepEqual(await ask({ type: "no-controller" }), { action: "apply" });
  });

  const defer = (reason: string, delayMs = 5 * MINUTE): object => ({ action: "defer", delayMs, reason });
  const reboots: [what: string, answer: ControllerAnswer, decision: object][] = [
    ["reboot", says({ action: "reboot" }), { action: "reboot" }],
    ["defer", says({ action: "defer", delay_ms: 90_000, reason: "busy" }), defer("busy", 90_000)],
    ["defer by nothing", says({ action: "defer", delay_ms: 0 }), defer("the application says so", 1000)],
    ["an update's answer", says({ action: "apply" }), defer(nonsense)],
    ["no answer in time", { type: "timeout" }, defer(noAnswer)],
    ["no application", { type: "no-controller" }, defer("no application is there to answer")],
  ];
  for (const [what, answer, decision] of reboots) {
    it(`to a reboot: ${what}`, async () => {
      assert.deepEqual(await application(answer).mayReboot(FIRMWARE, signal), decision);
    });
  }

  it("to a reboot counts as a yes with app.on_timeout = apply", async () => {
    const yes = application({ type: "timeout" }, { onTimeout: "apply" });
    assert.deepEqual(await yes.mayReboot(FIRMWARE, signal), { action: "reboot" });
  });
});
