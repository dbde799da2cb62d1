/**
 * One topic on the link, from its join to its end: when it is joined again, which messages it gets, and what
 * it can push.
 */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { Channel, ChannelHandlers } from "../../src/hub/channel.ts";
import {
  createBench,
  type Bench,
  type Peer,
  type TestLink,
  type TinyServer,
  type TinyServerOptions,
} from "./bench.ts";

const CRASH = { reason: "channel_crash" };

describe("a topic", () => {
  let bench: Bench;
  let link: TestLink;
  let channel: Channel;
  let peer: Peer;
  let server: TinyServer;
  let events: unknown[];
  beforeEach(() => {
    bench = createBench();
    events = [];
  });
  afterEach(async () => bench.end());

  const setUp = async (
    options: TinyServerOptions & { random?: () => number; handlers?: Partial<ChannelHandlers> } = {},
  ): Promise<void> => {
    server = await bench.serve(options);
    link = bench.link(server.url, { random: options.random ?? (() => 0), heartbeatMs: 3_600_000 });
    const note = (...event: unknown[]): void => {
      events.push(event);
      bench.changed();
    };
    channel = link.channel("device", {
      joinPayload: () => ({ join: events.length }),
      onJoined: (response) => note("joined", response),
      onLost: () => note("lost"),
      onMessage: (event, payload) => note(event, payload),
      ...options.handlers,
    });
    link.start();
    peer = await bench.until(() => server.peers[0]);
  };
  /** The delay of the next join as last logged, s. */
  const announced = (): number =>
    Number(
      /joining again in_s=(.+)$/.exec(
        bench.lines.findLast((line) => line.includes("joining again")) ?? "",
      )?.[1],
    );
  /** Resolves when the link has handled all that the server sent before. */
  const handled = async (): Promise<void> => assert.equal(await link.confirm(1000), true);
  const asked = async (joins: number): Promise<unknown> => bench.until(() => joinRefs().length === joins);
  const joinRefs = (): unknown[] =>
    peer.frames.filter(([, , , event]) => event === "phx_join").map(([joinRef]) => joinRef);
  const reply = (status: "ok" | "error", response: unknown, at = -1): void => {
    const frame = peer.frames.at(at);
    assert(frame);
    peer.send(frame[0], frame[1], "device", "phx_reply", { status, response });
  };
  const joined = async (): Promise<unknown> => bench.until(() => channel.joined);

  it("is joined, and its owner gets the answer", async () => {
    await setUp({ joins: false });
    await asked(1);
    assert.deepEqual(peer.frames, [["1", "1", "device", "phx_join", { join: 0 }]]);
    assert.equal(channel.joined, false);
    reply("ok", { update_available: false });
    await joined();
    assert.deepEqual(events, [["joined", { update_available: false }]]);
    await bench.advance(10_000);
    assert.equal(bench.clock.pending, 1, "only the heartbeat's timer");
    assert.equal(channel.joined, true);
  });

  it("is joined again with growing delays while the hub refuses the join", async () => {
    await setUp({ joins: false });
    const delays: number[] = [];
    for (let tries = 1; tries <= 8; tries += 1) {
      await asked(tries);
      reply("error", tries === 2 ? null : { reason: "no device" });
      await handled();
      const delayS = announced();
      delays.push(delayS);
      await bench.advance(delayS * 1000 - 1);
      await handled();
      assert.equal(joinRefs().length, tries);
      await bench.advance(1);
    }
    assert.deepEqual(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
    await asked(9);
    assert.equal(new Set(joinRefs()).size, 9, "each join has a ref of its own");
    assert(bench.lines.some((line) => line.includes("the hub refused the join: no device")));
    assert(bench.lines.some((line) => line.includes("the hub refused the join: no reason given")));
    reply("ok", {});
    await joined();
    assert.deepEqual(events, [["joined", {}]]);
  });

  it("draws each delay at random from all of its length, so that a fleet does not return all at once", async () => {
    const random = [0.75, 0, 0.999];
    await setUp({ joins: false, random: () => random.shift() ?? 0 });
    await asked(1);
    reply("error", { reason: "x" });
    await handled();
    assert.equal(announced(), 0.3);
    await bench.advance(249);
    await handled();
    await bench.advance(1);
    await asked(2);
    reply("error", { reason: "x" });
    await handled();
    assert.equal(announced(), 2);
  });

  it("is joined again when the join is not answered within 10 s", async () => {
    await setUp({ joins: false });
    await asked(1);
    await bench.advance(9999);
    assert.equal(joinRefs().length, 1);
    assert(!bench.lines.some((line) => line.includes("no answer to the join")));
    await bench.advance(1);
    assert(bench.lines.some((line) => line.includes("no answer to the join in 10 s")));
    await bench.advance(1000);
    await asked(2);
    reply("ok", { late: true }, 0); // answers the join that was given up
    await handled();
    assert.equal(channel.joined, false);
    reply("ok", {});
    await joined();
    assert.deepEqual(events, [["joined", {}]]);
  });

  for (const event of ["phx_error", "phx_err", "phx_close"]) {
    it(`is joined again, with a new join_ref, after ${event}`, async () => {
      await setUp();
      await joined();
      peer.send("1", "1", "device", event, CRASH);
      await bench.until(() => !channel.joined);
      assert.deepEqual(events, [["joined", {}], ["lost"]]);
      assert.equal(channel.push("status_update", {}), false, "no push before the next join");
      await bench.advance(1000);
      await joined();
      assert.equal(joinRefs().length, 2);
      assert.notEqual(joinRefs()[1], "1");
      assert.deepEqual(peer.frames.at(-1)?.[4], { join: 2 }, "each join makes its own payload");
      channel.push("status_update", {});
      await bench.until(() => peer.frames.at(-1)?.[3] === "status_update");
      assert.equal(peer.frames.at(-1)?.[0], joinRefs()[1]);
    });
  }

  for (const event of ["phx_error", "phx_err"]) {
    it(`logs the reason in ${event}, and is joined without one as well`, async () => {
      await setUp();
      await joined();
      peer.send(null, null, "device", event, CRASH);
      await bench.until(() => !channel.joined);
      assert.ok(
        bench.lines.some((line) => line.includes("the hub's channel crashed: channel_crash; joining again")),
      );
      await bench.advance(1000);
      await joined();
      peer.send(null, null, "device", event, { reason: 7 });
      await bench.until(() => !channel.joined);
      assert.ok(bench.lines.some((line) => line.includes("the hub's channel crashed; joining again")));
    });
  }

  it("is joined with growing delays after crashes, and within the spread after a join that held a minute", async () => {
    await setUp();
    const crash = async (): Promise<number> => {
      await joined();
      peer.send(null, null, "device", "phx_error", CRASH);
      await bench.until(() => !channel.joined);
      const delayS = announced();
      await bench.advance(delayS * 1000);
      return delayS;
    };
    assert.deepEqual([await crash(), await crash(), await crash()], [1, 2, 4]);
    await joined();
    await bench.advance(59_999);
    assert.equal(await crash(), 8);
    await joined();
    await bench.advance(60_000);
    assert.equal(await crash(), 30);
    assert.equal(await crash(), 60);
  });

  it("has the spread as its first delay when its last join held for a minute before the line broke", async () => {
    await setUp();
    const crash = async (): Promise<number> => {
      await joined();
      peer.send(null, null, "device", "phx_error", CRASH);
      await bench.until(() => !channel.joined);
      const delayS = announced();
      await bench.advance(delayS * 1000);
      await joined();
      return delayS;
    };
    assert.deepEqual([await crash(), await crash()], [1, 2]);
    await bench.advance(60_000);
    link.reconnect("to have another line");
    peer = await bench.until(() => server.peers[1]);
    assert.equal(await crash(), 30);
  });

  it("ignores messages of an earlier join", async () => {
    await setUp();
    await joined();
    peer.send("1", "1", "device", "phx_error", CRASH);
    await bench.until(() => !channel.joined);
    await bench.advance(1000);
    await joined();
    events.length = 0;
    // When a topic is joined twice, the server closes the old join after it has answered the new one.
    peer.send("1", "1", "device", "phx_close", {});
    peer.send("1", null, "device", "scripts/run", { ref: "old" });
    await handled();
    assert.equal(channel.joined, true);
    assert.deepEqual(events, []);
  });

  it("receives broadcasts (without refs) and messages of its own join, but none of other topics", async () => {
    await setUp();
    await joined();
    peer.send(null, null, "device", "update", { n: 1 });
    peer.send("1", null, "device", "scripts/run", { n: 2 });
    peer.send(null, null, "console", "dn", { n: 3 });
    peer.send(null, null, "device", "reboot", {});
    await handled();
    assert.deepEqual(events.slice(1), [
      ["update", { n: 1 }],
      ["scripts/run", { n: 2 }],
      ["reboot", {}],
    ]);
  });

  it("is joined again when the hub no longer knows the join", async () => {
    await setUp();
    await joined();
    channel.push("status_update", { status: "received" });
    await bench.until(() => peer.frames.length === 2);
    peer.send(null, peer.frames[1]?.[1] ?? null, "device", "phx_reply", {
      status: "error",
      response: { reason: "unmatched topic" },
    });
    await bench.until(() => !channel.joined);
    await bench.advance(1000);
    await joined();
    assert.equal(joinRefs().length, 2);
  });

  it("stays joined when a push gets any other reply", async () => {
    await setUp();
    await joined();
    for (const payload of [
      { status: "error", response: { reason: "detach" } },
      { status: "ok", response: {} },
      { status: "error" },
      { status: "what?", response: {} },
      null,
    ]) {
      peer.send("1", "2", "device", "phx_reply", payload);
    }
    await handled();
    assert.equal(channel.joined, true);
    assert.deepEqual(events, [["joined", {}]]);
  });

  it("refuses pushes before the join is answered, and without a connection", async () => {
    await setUp({ joins: false });
    await asked(1);
    assert.equal(channel.push("status_update", {}), false);
    reply("ok", {});
    await joined();
    assert.equal(channel.push("status_update", { a: 1 }), true);
    await bench.until(() => peer.frames.length === 2);
    assert.deepEqual(peer.frames[1], ["1", "2", "device", "status_update", { a: 1 }]);
    peer.webSocket.terminate();
    await bench.until(() => link.status.connection === "disconnected");
    assert.equal(channel.push("status_update", {}), false);
    assert.deepEqual(events, [["joined", {}], ["lost"]]);
  });

  it("confirms that the hub has read the pushes", async () => {
    await setUp();
    await joined();
    channel.push("status_update", {});
    assert.equal(await channel.confirm(1000), true);
    assert.equal(peer.frames.length, 2);
  });

  it("does not confirm pushes on a join that the hub has lost", async () => {
    await setUp();
    await joined();
    peer.send("1", "1", "device", "phx_error", CRASH); // before the push reaches the hub
    channel.push("status_update", {});
    assert.equal(await channel.confirm(1000), false);
    assert.equal(await channel.confirm(1000), false, "nothing is confirmed while the topic is not joined");
    await bench.advance(1000);
    await joined();
    assert.equal(await channel.confirm(1000), true);
  });

  it("sends phx_leave when it is left, and is not joined again", async () => {
    await setUp();
    await joined();
    link.drop(channel);
    await bench.until(() => peer.frames.at(-1)?.[3] === "phx_leave");
    assert.deepEqual(peer.frames.at(-1), ["1", "2", "device", "phx_leave", {}]);
    peer.send("1", "1", "device", "phx_close", {});
    await handled();
    assert.deepEqual(events, [["joined", {}], ["lost"]]);
    assert.equal(channel.joined, false);
    await bench.advance(1000);
    assert.equal(bench.clock.pending, 1, "only the heartbeat's timer");
    link.reconnect("to see who joins");
    await bench.until(
      () => link.statuses.filter(({ connection }) => connection === "connected").length === 2,
    );
    await handled();
    assert.equal(joinRefs().length, 1);
  });

  it("leaves no timer when it is left while it joins or waits to join", async () => {
    await setUp({ joins: false });
    await asked(1);
    assert.equal(bench.clock.pending, 2, "heartbeat and join");
    link.drop(channel);
    assert.equal(bench.clock.pending, 1);
    const other = link.channel("console", {
      joinPayload: () => ({}),
      onJoined: () => undefined,
      onMessage: () => undefined,
    });
    const [joinRef, ref] = await bench.until(() => peer.frames.find(([, , topic]) => topic === "console"));
    peer.send(joinRef, ref, "console", "phx_reply", { status: "error", response: {} });
    await handled();
    const { pending } = bench.clock;
    link.drop(other);
    assert.equal(bench.clock.pending, pending - 1);
  });

  it("stays joined when its owner's handlers throw", async () => {
    let payloads = 0;
    await setUp({
      handlers: {
        joinPayload() {
          payloads += 1;
          if (payloads === 1) throw new Error("no payload");
          return {};
        },
        onJoined() {
          bench.changed();
          throw new Error("not ready for that");
        },
        onMessage() {
          throw new Error("did not expect that");
        },
        onLost() {
          throw new Error("can't be lost");
        },
      },
    });
    await bench.until(() => link.status.connection === "connected");
    await bench.advance(11_000); // no join was sent, so the 10 s for an answer must not count
    await joined();
    peer.send(null, null, "device", "reboot", {});
    await handled();
    assert.equal(channel.joined, true);
    peer.webSocket.terminate();
    await bench.until(() => link.status.connection === "disconnected");
    assert.equal(server.peers.length, 1);
    assert.deepEqual(
      bench.lines.filter((line) => line.startsWith("error")),
      ["no payload", "not ready for that", "did not expect that", "can't be lost"].map(
        (problem) => `error device: ${problem}`,
      ),
    );
  });
});
