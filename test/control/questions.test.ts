/**
 * Questions of the agent to the controller application on the control socket: each gets an answer, or its
 * asker learns why there is none.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { ControllerAnswer } from "../../src/control/questions.ts";
import { ControlServer } from "../../src/control/server.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { recordingLog } from "../board/recording-log.ts";
import { controlPeer, type ControlPeer } from "../agent/control-peer.ts";

const TIMEOUT_MS = 30_000;

describe("a question to the controller", () => {
  let dir: string;
  let path: string;
  let server: ControlServer;
  let clock: FakeClock;
  let lines: string[];
  let peers: ControlPeer[];
  let stopping: AbortController;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "hublink-questions-"));
    path = join(dir, "hublink.sock");
    clock = new FakeClock();
    lines = [];
    peers = [];
    stopping = new AbortController();
    server = new ControlServer({
      path,
      mode: 0o600,
      group: "",
      agentVersion: "1.2.3",
      clock,
      log: recordingLog(lines),
    });
    await server.start({ echo: (params) => params });
  });
  afterEach(async () => {
    for (const peer of peers) await peer.close();
    await server.stop();
    assert.equal(clock.pending, 0, "no timer is left behind");
    await rm(dir, { recursive: true });
  });
  const welcomed = async (role: "controller" | "observer" = "controller"): Promise<ControlPeer> => {
    const peer = await controlPeer(path, { role });
    peers.push(peer);
    assert.equal((await peer.next())["type"], "welcome");
    return peer;
  };
  const ask = async (params: unknown = {}): Promise<ControllerAnswer> =>
    server.ask("update_available", params, { timeoutMs: TIMEOUT_MS, signal: stopping.signal });

  it("comes as a request, and the result returns to the asker", async () => {
    const controller = await welcomed();
    const answer = ask({ size: 7 });
    const { id, ...question } = await controller.next();
    assert.deepEqual(question, { type: "request", method: "update_available", params: { size: 7 } });
    controller.send({ type: "response", id, result: { action: "apply" } });
    assert.deepEqual(await answer, { type: "result", result: { action: "apply" } });
  });

  it("may be answered with an error", async () => {
    const controller = await welcomed();
    const answer = ask();
    const { id } = await controller.next();
    controller.send({ type: "response", id, error: { code: "unknown_method", message: "never heard" } });
    assert.deepEqual(await answer, { type: "error", code: "unknown_method", message: "never heard" });
  });

  it("is not confused with a request of the application that has the same id", async () => {
    const controller = await welcomed();
    const answers = [ask(1), ask(2)];
    const asked = [await controller.next(), await controller.next()];
    for (const { id } of asked) {
      controller.send({ type: "request", id, method: "echo", params: "mine" });
      assert.deepEqual(await controller.next(), { type: "response", id, result: "mine" });
    }
    for (const { id, params } of asked.reverse()) controller.send({ type: "response", id, result: params });
    assert.deepEqual(await Promise.all(answers), [
      { type: "result", result: 1 },
      { type: "result", result: 2 },
    ]);
  });

  it("goes to the controller only, and no observer can answer it", async () => {
    const observer = await welcomed("observer");
    assert.deepEqual(await ask(), { type: "no-controller" });
    const controller = await welcomed();
    const answer = ask();
    const { id } = await controller.next();
    observer.send({ type: "response", id, result: "forged" });
    assert.equal((await observer.request("echo", 1))["result"], 1);
    controller.send({ type: "response", id, result: "true" });
    assert.deepEqual(await answer, { type: "result", result: "true" });
  });

  it("times out, and a later answer is only logged", async () => {
    const controller = await welcomed();
    const answer = ask();
    const { id } = await controller.next();
    await clock.advance(TIMEOUT_MS);
    assert.deepEqual(await answer, { type: "timeout" });
    controller.send({ type: "response", id, result: "late" });
    assert.equal((await controller.request("echo", 1))["result"], 1);
    assert.ok(lines.some((line) => line.includes("it comes too late")));
  });

  it("ends at once when the controller disconnects", async () => {
    const controller = await welcomed();
    const answer = ask();
    await controller.next();
    await controller.close();
    assert.deepEqual(await answer, { type: "no-controller" });
    const next = await welcomed();
    const again = ask();
    next.send({ type: "response", id: (await next.next())["id"], result: 2 });
    assert.deepEqual(await again, { type: "result", result: 2 });
  });

  it("ends when the agent stops", async () => {
    const controller = await welcomed();
    const answer = ask();
    await controller.next();
    const reason = new Error("the agent stops");
    stopping.abort(reason);
    await assert.rejects(answer, reason);
    await controller.close();
    await assert.rejects(ask(), reason);
  });

  it("is not sent to an application that has left 8 unanswered", async () => {
    const controller = await welcomed();
    const answers = Array.from({ length: 8 }, async (_, index) => ask(index));
    assert.deepEqual(await ask("one too many"), { type: "timeout" });
    for (let count = 0; count < answers.length; count += 1) {
      const { id, params } = await controller.next();
      controller.send({ type: "response", id, result: params });
    }
    assert.deepEqual(
      await Promise.all(answers),
      answers.map((_, result) => ({ type: "result", result })),
    );
  });

  it("is not sent to an application that does not read", async () => {
    const controller = await welcomed();
    controller.socket.pause();
    const refused = (): boolean => lines.some((line) => line.includes("was not asked"));
    for (let count = 0; count < 50 && !refused(); count += 1) {
      const answer = ask("x".repeat(60_000));
      await clock.advance(TIMEOUT_MS);
      assert.deepEqual(await answer, { type: "timeout" });
    }
    assert.ok(refused());
  });
});
