/** The policy command's input, and the decision that follows from its exit code and output. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { type Clock, systemClock } from "../../src/platform/clock.ts";
import type { UpdateQuestion } from "../../src/update/application.ts";
import { askPolicyCommand } from "../../src/update/approval.ts";
import type { Decision } from "../../src/update/decide.ts";
import { eventually } from "../eventually.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { testWorld } from "../platform/world.ts";

const FIRMWARE = { uuid: "u2", version: "2.0.0", product: "demo", platform: "rpi0", architecture: "arm" };
const QUESTION: UpdateQuestion = {
  firmware: FIRMWARE,
  size: 1234,
  deployment_id: 7,
  running: { ...FIRMWARE, uuid: "u1", version: "1.0.0" },
};

describe("the policy command", () => {
  let dir: string;
  let stopping: AbortController;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "hublink-policy-"));
    stopping = new AbortController();
  });
  afterEach(async () => rm(dir, { recursive: true }));
  const ask = async (command: string, clock: Clock = systemClock): Promise<Decision> =>
    askPolicyCommand(command, QUESTION, testWorld({ clock }), stopping.signal);
  /** Resolves once the command runs. */
  const running = async (): Promise<void> => {
    await eventually(() => existsSync(join(dir, "pid")), "the command runs");
  };

  it("gets the update as one line of JSON on its standard input", async () => {
    const file = join(dir, "stdin");
    assert.deepEqual(await ask(`cat > ${file}`), { action: "apply" });
    const text = await readFile(file, "utf8");
    assert.deepEqual(JSON.parse(text), QUESTION);
    assert.match(text, /^[^\n]+\n$/);
  });

  const MINUTE = 60_000;
  const table: [command: string, decision: Decision][] = [
    ["exit 0", { action: "apply" }],
    ["echo whatever; exit 0", { action: "apply" }],
    [
      "printf '90\\nthe harvest is on\\n'; exit 75",
      { action: "reschedule", delayMs: 90 * MINUTE, reason: "the harvest is on" },
    ],
    [
      "printf '90\\r\\ntwo\\r\\nlines\\r\\n'; exit 75",
      { action: "reschedule", delayMs: 90 * MINUTE, reason: "two lines" },
    ],
    [
      "echo 5; exit 75",
      { action: "reschedule", delayMs: 5 * MINUTE, reason: "update.policy_command says later" },
    ],
    [
      "echo 0; exit 75",
      { action: "reschedule", delayMs: MINUTE, reason: "update.policy_command says later" },
    ],
    [
      "echo 999999; exit 75",
      { action: "reschedule", delayMs: 7 * 24 * 60 * MINUTE, reason: "update.policy_command says later" },
    ],
    ["echo not now; exit 75", { action: "reschedule", delayMs: 5 * MINUTE, reason: "not now" }],
    ["echo -3; exit 75", { action: "reschedule", delayMs: 5 * MINUTE, reason: "-3" }],
    ["exit 75", { action: "reschedule", delayMs: 5 * MINUTE, reason: "update.policy_command says later" }],
    [
      "echo this board is a museum piece; exit 1",
      { action: "ignore", reason: "this board is a museum piece" },
    ],
    ["echo broken >&2; exit 3", { action: "ignore", reason: "broken" }],
    ["exit 2", { action: "ignore", reason: "update.policy_command ended with 2" }],
    ["kill -9 $$", { action: "reschedule", delayMs: 5 * MINUTE, reason: "update.policy_command was killed" }],
  ];
  for (const [command, decision] of table) {
    it(`${command}: ${decision.action}`, async () => assert.deepEqual(await ask(command), decision));
  }

  it("that does not exist: the update is ignored, and the hub learns why", async () => {
    assert.match(
      JSON.stringify(await ask("/no/such/policy")),
      /^{"action":"ignore".*\/no\/such\/policy: not found/,
    );
  });

  it("that prints without end: its reason is cut off", async () => {
    const decision = await ask("head -c 10000000 /dev/zero | tr '\\0' x; exit 1");
    assert.equal(decision.action === "ignore" && decision.reason, "x".repeat(200));
  });

  it("that hangs is killed after a minute, and the update put off", async () => {
    const clock = new FakeClock();
    const decision = ask(`echo x > ${dir}/pid; sleep 1000`, clock);
    await running();
    await clock.advance(60_000);
    assert.deepEqual(await decision, {
      action: "reschedule",
      delayMs: 5 * MINUTE,
      reason: "update.policy_command gave no answer in 60 s",
    });
    assert.equal(clock.pending, 0);
  });

  it("is killed when the agent stops", async () => {
    const decision = ask(`echo $$ > ${dir}/pid; sleep 1000`);
    await running();
    const reason = new Error("the agent stops");
    stopping.abort(reason);
    await assert.rejects(decision, reason);
  });
});
