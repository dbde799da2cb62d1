/**
 * Topic `extensions` on the board's side: it attaches, detaches and isolates extensions, so that a broken one
 * harms no other.
 */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { Extension, ExtensionContext, RunningExtension } from "../../src/extensions/extension.ts";
import { ExtensionsTopic } from "../../src/extensions/extensions-topic.ts";
import { createBench, type Bench, type Peer, type TestLink, type WireFrame } from "../link/bench.ts";

/** An extension whose behaviour the test gives, with the context of its last attachment. */
interface Probe extends Extension {
  readonly received: unknown[];
  readonly stops: number;
  readonly context: ExtensionContext;
}

describe("the board's side of topic extensions", () => {
  let bench: Bench;
  let link: TestLink;
  let topic: ExtensionsTopic;
  let peer: Peer;
  beforeEach(() => (bench = createBench()));
  afterEach(async () => {
    await topic.stop();
    await bench.end();
  });

  const setUp = async (...extensions: readonly Extension[]): Promise<void> => {
    const server = await bench.serve({ joins: false });
    link = bench.link(server.url);
    topic = new ExtensionsTopic({ link, extensions, clock: bench.clock, log: bench.log });
    link.start();
    peer = await bench.until(() => server.peers[0]);
    await bench.connected(link);
  };
  /** Resolves when both sides have handled everything that was sent so far. */
  const settled = async (): Promise<void> => {
    for (let there = 0; there < 2; there += 1) assert.equal(await link.confirm(1000), true);
  };
  const answerJoin = async (names: unknown): Promise<void> => {
    const join = await bench.until(() => peer.frames.findLast(isOurJoin));
    peer.send(join[0], join[1], "extensions", "phx_reply", { status: "ok", response: names });
    await settled();
  };
  const join = async (names: unknown): Promise<void> => {
    topic.join(undefined);
    await answerJoin(names);
  };
  const send = async (event: string, payload: unknown = {}): Promise<void> => {
    peer.send(peer.frames.findLast(isOurJoin)?.[0] ?? null, null, "extensions", event, payload);
    await settled();
  };
  /** The messages that the hub received, without joins. */
  const received = (): unknown[][] =>
    peer.frames.filter(([, , , event]) => event !== "phx_join").map((frame) => frame.slice(3));
  const probe = (
    name: string,
    running: Partial<RunningExtension> & { start?: (context: ExtensionContext) => void | Promise<void> } = {},
    versions: Extension["versions"] = ["0.0.1"],
  ): Probe => {
    const received: unknown[] = [];
    let stops = 0;
    let last: ExtensionContext | undefined;
    return {
      name,
      versions,
      received,
      get stops() {
        return stops;
      },
      get context() {
        assert(last);
        return last;
      },
      async start(context) {
        last = context;
        await running.start?.(context);
        return {
          async onMessage(event, payload) {
            received.push([event, payload]);
            await running.onMessage?.(event, payload);
          },
          async stop() {
            stops += 1;
            await running.stop?.();
          },
        };
      },
    };
  };

  it("joins when the hub asks for extensions, with their names and versions", async () => {
    await setUp(probe("geo"), probe("health"));
    await settled();
    assert.equal(peer.frames.length, 0);
    topic.join(undefined);
    topic.join(undefined);
    await settled();
    assert.deepEqual(
      peer.frames.map((frame): unknown[] => frame.slice(2)),
      [["extensions", "phx_join", { geo: "0.0.1", health: "0.0.1" }]],
    );
  });

  describe("with a hub that says which versions it has", () => {
    const joins = (): unknown[] => peer.frames.filter(isOurJoin).map(([, , , , payload]): unknown => payload);
    const offer = (versions: Readonly<Record<string, readonly string[]>>): void =>
      topic.join(new Map(Object.entries(versions)));
    const state = (name: string): unknown => topic.states.find((entry) => entry.name === name);

    it("joins with its own preferred version that the hub has, and leaves out what the hub lacks", async () => {
      const logging = probe("logging", {}, ["0.2.0", "0.1.0", "0.0.1"]);
      await setUp(logging, probe("health"), probe("geo"));
      offer({ logging: ["0.3.0", "0.1.0", "0.0.1"], health: ["0.0.1"], geo: ["1.0.0"] });
      await answerJoin(["health", "logging"]);
      assert.deepEqual(joins(), [{ logging: "0.1.0", health: "0.0.1" }]);
      assert.equal(logging.context.version, "0.1.0");
      assert.deepEqual(topic.states, [
        { name: "logging", state: "attached", version: "0.1.0" },
        { name: "health", state: "attached", version: "0.0.1" },
        { name: "geo", state: "off_at_hub", version: null },
      ]);
    });

    it("joins with the lowest versions when the hub does not say", async () => {
      await setUp(probe("logging", {}, ["0.1.0", "0.0.1"]), probe("health"));
      topic.join(undefined);
      await settled();
      assert.deepEqual(joins(), [{ logging: "0.0.1", health: "0.0.1" }]);
    });

    it("joins with the lowest versions 5 s after topic device when the hub does not ask", async () => {
      await setUp(probe("logging", {}, ["0.1.0", "0.0.1"]));
      topic.deviceJoined();
      await bench.clock.advance(4999);
      await settled();
      assert.deepEqual(joins(), []);
      await bench.clock.advance(1);
      await settled();
      assert.deepEqual(joins(), [{ logging: "0.0.1" }]);
    });

    it("joins once more with better versions when the hub asks after that", async () => {
      await setUp(probe("logging", {}, ["0.1.0", "0.0.1"]));
      topic.deviceJoined();
      await bench.clock.advance(5000);
      await answerJoin(["logging"]);
      offer({ logging: ["0.1.0"] });
      offer({ logging: ["0.1.0"] });
      await settled();
      await answerJoin(["logging"]);
      assert.deepEqual(joins(), [{ logging: "0.0.1" }, { logging: "0.1.0" }]);
      assert.deepEqual(state("logging"), { name: "logging", state: "attached", version: "0.1.0" });
    });

    it("does not wait any more once the hub has asked, or the connection has ended", async () => {
      await setUp(probe("health"));
      topic.deviceJoined();
      offer({ health: [] });
      topic.deviceJoined(); // once more on the same connection
      await bench.clock.advance(10_000);
      await settled();
      assert.deepEqual(joins(), []);
      assert.deepEqual(state("health"), { name: "health", state: "off_at_hub", version: null });
      topic.disconnected();
      topic.deviceJoined();
      topic.disconnected();
      await bench.clock.advance(10_000);
      assert.deepEqual(joins(), []);
      assert.deepEqual(state("health"), { name: "health", state: "waiting", version: null });
    });

    it("does not come before topic device: it waits anew when that was lost in between", async () => {
      await setUp(probe("health"));
      topic.deviceJoined();
      await bench.clock.advance(3000);
      topic.deviceLost();
      await bench.clock.advance(10_000);
      await settled();
      assert.deepEqual(joins(), []);
      topic.deviceJoined();
      await bench.clock.advance(5000);
      await settled();
      assert.deepEqual(joins(), [{ health: "0.0.1" }]);
    });

    it("says which extensions the hub did not allow, failed, or were detached", async () => {
      const failing = probe("geo", { start: async () => Promise.reject(new Error("no place")) });
      await setUp(probe("health"), failing, probe("logging"), probe("network_identity"));
      topic.join(undefined);
      await answerJoin(["geo", "logging", "network_identity"]);
      await send("detach", { extensions: ["logging"] });
      assert.deepEqual(
        topic.states.map(({ name, state: is }) => [name, is]),
        [
          ["health", "off_at_hub"],
          ["geo", "detached"],
          ["logging", "detached"],
          ["network_identity", "attached"],
        ],
      );
    });

    it("attaches what an operator switches on later in its lowest version", async () => {
      const logging = probe("logging", {}, ["0.1.0", "0.0.1"]);
      await setUp(probe("health"), logging);
      offer({ health: ["0.0.1"] });
      await answerJoin(["health"]);
      await send("attach", { extensions: ["logging"] });
      assert.equal(logging.context.version, "0.0.1");
    });

    it("asks no more on this connection when the hub does not have the topic", async () => {
      await setUp(probe("health"));
      topic.join(undefined);
      const [joinRef, ref] = await bench.until(() => peer.frames.findLast(isOurJoin));
      peer.send(joinRef, ref, "extensions", "phx_reply", {
        status: "error",
        response: { reason: "unmatched topic" },
      });
      await settled();
      await bench.clock.advance(300_000);
      assert.equal(joins().length, 1);
      assert.deepEqual(state("health"), { name: "health", state: "off_at_hub", version: null });
    });
  });

  it("does not join when no extension is enabled", async () => {
    await setUp();
    topic.join(undefined);
    await settled();
    assert.deepEqual(peer.frames, []);
  });

  it("attaches only the extensions that the hub names", async () => {
    const health = probe("health");
    await setUp(probe("geo"), health);
    await join(["health", "unheard_of"]);
    assert.deepEqual(received(), [["health:attached", {}]]);
    assert.deepEqual(topic.attached, ["health"]);
    await send("health:check", { a: 1 });
    await send("geo:location:request");
    assert.deepEqual(health.received, [["check", { a: 1 }]]);
    health.context.push("report", { value: 1 });
    await settled();
    assert.deepEqual(received().at(-1), ["health:report", { value: 1 }]);
  });

  it("passes on the part of the event after the first colon", async () => {
    const geo = probe("geo");
    await setUp(geo);
    await join(["geo"]);
    await send("geo:location:request");
    assert.deepEqual(geo.received, [["location:request", {}]]);
  });

  it("attaches and detaches at the hub's request, one by one or all", async () => {
    const [geo, health] = [probe("geo"), probe("health")];
    await setUp(geo, health);
    await join([]);
    await send("attach", { extensions: ["geo"] });
    await send("attach", { extensions: "all" });
    await send("detach", { extensions: ["health", "nonsense"] });
    await send("detach", { extensions: "all" });
    await send("attach", { extensions: 7 });
    await settled();
    assert.deepEqual(
      received().map(([event]) => event),
      ["geo:attached", "health:attached", "health:detached", "geo:detached"],
    );
    assert.deepEqual([geo.stops, health.stops], [1, 1]);
    assert.deepEqual(topic.attached, []);
  });

  it("stops all extensions when the connection ends, and waits for the hub to ask again", async () => {
    const health = probe("health");
    await setUp(health);
    await join(["health"]);
    peer.webSocket.terminate();
    await bench.until(() => link.status.connection === "disconnected");
    topic.disconnected();
    await bench.until(() => health.stops === 1);
    assert.equal(health.context.signal.aborted, true);
    assert.equal(health.context.push("report", {}), false);
    assert.deepEqual(topic.attached, []);
  });

  it("attaches them again after the hub's channel crashed", async () => {
    const health = probe("health");
    await setUp(health);
    await join(["health"]);
    await send("phx_error", { reason: "channel_crash" });
    await bench.until(() => health.stops === 1);
    await bench.advance(1000);
    await answerJoin(["health"]);
    assert.deepEqual(
      received().map(([event]) => event),
      ["health:attached", "health:attached"],
    );
  });

  const failures: readonly (readonly [what: string, probe: () => Probe, reason: RegExp])[] = [
    ["throws when it starts", () => probe("bad", { start: () => oops() }), /oops/],
    ["never finishes starting", () => probe("bad", { start: never }), /starting takes longer than 30 s/],
    ["throws at a message", () => probe("bad", { onMessage: () => oops() }), /oops/],
    [
      "rejects at a message",
      () => probe("bad", { onMessage: async () => Promise.reject(new Error("oops")) }),
      /oops/,
    ],
    [
      "never finishes with a message",
      () => probe("bad", { onMessage: never }),
      /hello takes longer than 30 s/,
    ],
    [
      "sends a value that JSON can't hold",
      () => {
        const bad = probe("bad", { onMessage: () => void bad.context.push("x", { n: 1n }) });
        return bad;
      },
      /BigInt/,
    ],
    [
      "throws in a timer",
      () => probe("bad", { start: (context) => void context.clock.after(10, oops) }),
      /oops/,
    ],
    [
      "says that it failed",
      () =>
        probe("bad", {
          start: (context) => void context.clock.after(10, () => context.fail(new Error("oops"))),
        }),
      /oops/,
    ],
    [
      "floods",
      () => {
        const bad = probe("bad", {
          onMessage() {
            for (let n = 0; n < 10_000; n += 1) bad.context.push("x", {});
          },
        });
        return bad;
      },
      /more than 50 messages a second/,
    ],
  ];
  for (const [what, makeBad, reason] of failures) {
    it(`one that ${what} is detached and reported; the others go on`, async () => {
      const [bad, good] = [makeBad(), probe("good")];
      await setUp(bad, good);
      await join(["bad", "good"]);
      await send("bad:hello");
      await bench.advance(33_000); // and the 3 s for stopping
      await settled();
      const [, payload] = received().find(([event]) => event === "bad:error") ?? [];
      assert.match((payload as { reason: string }).reason, reason);
      assert.deepEqual(topic.attached, ["good"]);
      assert.ok(!received().some(([event]) => event === "bad:detached"));
      assert.ok(received().length < 210, "the flood is cut off");
      await send("good:hello");
      assert.deepEqual(good.received, [["hello", {}]]);
      await send("bad:hello");
      assert.ok(bad.received.length <= 1, "a detached extension receives nothing");
    });
  }

  it("one that never stops does not delay the end, and its timers never fire", async () => {
    const bad = probe("bad", { stop: never, start: (context) => void context.clock.after(60_000, oops) });
    await setUp(bad);
    await join(["bad"]);
    const stopped = topic.stop();
    await bench.advance(3000);
    await stopped;
    assert.equal(bad.context.signal.aborted, true);
    bad.context.clock.after(1, oops);
    await bench.advance(60_000);
  });

  it("drops messages for an extension that still handles sixteen earlier ones", async () => {
    const release: (() => void)[] = [];
    const slow = probe("slow", { onMessage: async () => new Promise((resolve) => release.push(resolve)) });
    await setUp(slow);
    await join(["slow"]);
    for (let n = 0; n < 40; n += 1) await send("slow:check");
    assert.equal(slow.received.length, 16);
    release.forEach((resolve) => resolve());
    await settled();
    await send("slow:check");
    assert.equal(slow.received.length, 17);
    release.at(-1)?.();
    await settled();
  });

  it("refuses messages of extensions on a slow line, and keeps room for those of an update", async () => {
    const chatty = probe("chatty");
    await setUp(chatty);
    const device = link.channel("device", {
      joinPayload: () => ({}),
      onJoined: () => undefined,
      onMessage: () => undefined,
    });
    await bench.until(() => peer.frames.length === 1);
    const [joinRef, ref] = peer.frames[0] ?? [null, null];
    peer.send(joinRef, ref, "device", "phx_reply", { status: "ok", response: {} });
    await join(["chatty"]);
    peer.webSocket.pause();
    const data = "x".repeat(512 * 1024);
    let taken = 0;
    while (taken < 190 && chatty.context.push("output", { data })) taken += 1;
    assert.ok(taken < 190, "the line refuses at some point");
    assert.equal(device.push("status_update", { status: "completed" }), true);
    peer.webSocket.resume();
    await settled();
    assert.deepEqual(peer.frames.at(-1)?.slice(3), ["status_update", { status: "completed" }]);
  });
});

function isOurJoin([, , topic, event]: WireFrame): boolean {
  return topic === "extensions" && event === "phx_join";
}

function oops(): never {
  throw new Error("oops");
}

async function never(): Promise<void> {
  await new Promise(() => undefined);
}
