/** The agent's end of the control socket: greetings, requests, events, limits, and the socket file. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { ControlFailure } from "../../src/control/messages.ts";
import { type ControlMethods, ControlServer, type ControlServerOptions } from "../../src/control/server.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { Failure } from "../../src/platform/failure.ts";
import { silentLog } from "../../src/platform/log.ts";
import { controlPeer, type ControlPeer } from "../agent/control-peer.ts";
import { FakeClock } from "../platform/fake-clock.ts";

const WELCOME = { type: "welcome", agent_version: "1.2.3", api: 1, role: "observer", update_tool: "fwup" };

describe("the control socket", () => {
  let dir: string;
  let path: string;
  let server: ControlServer | undefined;
  let peers: ControlPeer[];
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "hublink-control-"));
    path = join(dir, "sub", "hublink.sock");
    server = undefined;
    peers = [];
  });
  afterEach(async () => {
    for (const peer of peers) await peer.close();
    await server?.stop();
    await rm(dir, { recursive: true });
  });
  const listen = async ({
    methods = { echo: (params) => params },
    ...options
  }: Partial<ControlServerOptions> & { readonly methods?: ControlMethods } = {}): Promise<ControlServer> => {
    const made = new ControlServer({
      path,
      mode: 0o600,
      group: "",
      agentVersion: "1.2.3",
      clock: systemClock,
      log: silentLog,
      ...options,
    });
    await made.start(methods);
    server = made;
    return made;
  };
  const peer = async (hello?: object): Promise<ControlPeer> => {
    const made = await controlPeer(path, hello);
    peers.push(made);
    return made;
  };
  const welcomed = async (hello: object = {}): Promise<ControlPeer> => {
    const made = await peer(hello);
    assert.equal((await made.next())["type"], "welcome");
    return made;
  };

  it("has no subscriber and no controller until it is started", async () => {
    const agent = new ControlServer({
      path,
      mode: 0o600,
      group: "",
      agentVersion: "1.2.3",
      clock: systemClock,
      log: silentLog,
    });
    agent.publish("connection", { state: "connected" });
    const { signal } = new AbortController();
    assert.deepEqual(await agent.ask("identify", {}, { timeoutMs: 1000, signal }), { type: "no-controller" });
    await agent.stop();
  });

  describe("welcomes", () => {
    it("an application as an observer by default", async () => {
      await listen();
      assert.deepEqual(await (await peer({})).next(), WELCOME);
    });

    it("one controller, and refuses a second with controller_taken until the first is gone", async () => {
      await listen();
      const first = await peer({ role: "controller" });
      assert.deepEqual(await first.next(), { ...WELCOME, role: "controller" });
      const second = await peer({ role: "controller" });
      assert.deepEqual(await second.next(), {
        type: "response",
        id: "hello",
        error: {
          code: "controller_taken",
          message: "another connection is already the controller",
          failure: "controller_taken",
        },
      });
      await second.closed;
      await first.close();
      assert.equal((await (await welcomed({ role: "controller" })).request("echo", 1))["result"], 1);
    });

    const refusals: [name: string, first: object | string, code: string][] = [
      ["another api", { type: "hello", name: "x", api: 2 }, "api_mismatch"],
      ["a request before the hello", { type: "request", id: "1", method: "echo" }, "hello_expected"],
      ["an unknown role", { type: "hello", name: "x", api: 1, role: "king" }, "hello_expected"],
      ["a first line that is not JSON", "GET / HTTP/1.1", "hello_expected"],
    ];
    for (const [name, first, code] of refusals) {
      it(`refuses ${name} with ${code}, closes, and reads no further`, async () => {
        let asked = 0;
        await listen({ methods: { count: () => (asked += 1) } });
        const refused = await peer();
        const controller = { type: "hello", name: "x", api: 1, role: "controller" };
        refused.send(first, controller, { type: "request", id: "1", method: "count" });
        const answer = await refused.next();
        assert.equal(answer["id"], "hello");
        assert.equal((answer["error"] as { readonly code: string }).code, code);
        await assert.rejects(refused.next());
        assert.equal(asked, 0);
        await welcomed({ role: "controller" });
      });
    }
  });

  describe("answers requests", () => {
    it("with the result and the request's id", async () => {
      await listen();
      const one = await welcomed();
      one.send({ type: "request", id: "mine", method: "echo", params: { a: [1] } });
      assert.deepEqual(await one.next(), { type: "response", id: "mine", result: { a: [1] } });
    });

    const errors: readonly [thrown: Error, code: string, failure: string | undefined][] = [
      [new Failure("unsupported", "not here"), "unsupported", "unsupported"],
      [new Failure("not_connected", "no hub"), "not_connected", "not_connected"],
      [new Failure("no_input", "no such file"), "no_input", "no_input"],
      [new Failure("key_missing", "no key"), "no_input", "key_missing"],
      [new Failure("reboot_pending", "reboot first"), "unavailable", "reboot_pending"],
      [new Failure("fwup_stalled", "the disk fails"), "io", "fwup_stalled"],
      [new Failure("checksum_wrong", "damaged"), "failed", "checksum_wrong"],
      [new ControlFailure("ignored", "fwup_stalled", "older"), "ignored", "fwup_stalled"],
      [new Error("surprise"), "failed", undefined],
    ];
    for (const [thrown, code, failure] of errors) {
      it(`with code ${code} for ${failure === undefined ? "a defect" : `failure ${failure}`}`, async () => {
        const method = (): never => {
          throw thrown;
        };
        await listen({ methods: { method } });
        const { error } = await (await welcomed()).request("method");
        const { message } = thrown;
        assert.deepEqual(error, { code, message, ...(failure !== undefined && { failure }) });
      });
    }

    it("with unknown_method for unknown methods, also for names that every object has", async () => {
      await listen();
      const one = await welcomed();
      for (const method of ["dance", "toString", "constructor", "__proto__"]) {
        const { error } = await one.request(method);
        assert.equal((error as { readonly code: string }).code, "unknown_method");
      }
    });

    it("and ignores lines that are not requests", async () => {
      await listen();
      const one = await welcomed();
      one.send("{", "", "null", "[]", '"text"', { type: "request", method: "echo" }, { type: "welcome" });
      assert.equal((await one.request("echo", 7))["result"], 7);
    });

    it("that come byte by byte, in any script", async () => {
      await listen();
      const one = await welcomed();
      const line = Buffer.from(
        `${JSON.stringify({ type: "request", id: "1", method: "echo", params: "Größe 大" })}\n`,
      );
      for (const byte of line) one.socket.write(Buffer.of(byte));
      assert.equal((await one.next())["result"], "Größe 大");
    });
  });

  describe("is bounded", () => {
    for (const [name, ending] of [
      ["never ends", ""],
      ["ends", "\n"],
    ] as const) {
      it(`ends a connection with a line above 64 KiB that ${name}`, async () => {
        await listen();
        const one = await welcomed();
        one.socket.write(`"${"x".repeat(64 * 1024)}"${ending}`);
        await one.closed;
        await welcomed();
      });
    }

    it("accepts a line of 64 KiB", async () => {
      await listen();
      const one = await welcomed();
      const request = { type: "request", id: "1", method: "echo", params: "" };
      const room = 64 * 1024 - JSON.stringify(request).length;
      one.send({ ...request, params: "x".repeat(room) });
      assert.equal(((await one.next())["result"] as string).length, room);
    });

    it("accepts 32 connections, and closes the 33rd", async () => {
      await listen();
      for (let count = 0; count < 32; count += 1) await welcomed();
      const last = await peer({});
      await assert.rejects(last.next());
    });

    it("ends the oldest silent connection for a new one, and no subscriber", async () => {
      await listen();
      const subscriber = await welcomed({ subscribe: ["connection"] });
      const silent: ControlPeer[] = [];
      for (let count = 0; count < 31; count += 1) silent.push(await peer());
      const command = await welcomed();
      assert.deepEqual((await command.request("echo", "hello"))["result"], "hello");
      await silent[0]?.closed;
      assert.equal((await subscriber.request("echo", 1))["result"], 1);
      silent[1]?.send({ type: "hello", name: "late", api: 1 });
      assert.equal((await silent[1]?.next())?.["type"], "welcome");
    });

    it("ends one that has said hello and nothing else for 10 s; those that have asked stay", async () => {
      const clock = new FakeClock();
      await listen({ clock });
      const asking = await welcomed();
      await asking.request("echo", 1);
      const controller = await welcomed({ role: "controller" });
      const idle: ControlPeer[] = [];
      for (let count = 0; count < 30; count += 1) idle.push(await welcomed());
      await clock.advance(9999);
      await assert.rejects((await peer({})).next());
      await clock.advance(1);
      await welcomed();
      await idle[0]?.closed;
      assert.equal((await asking.request("echo", 2))["result"], 2);
      assert.equal((await controller.request("echo", 3))["result"], 3);
    });

    it("drops events for a subscriber that does not read, and serves the others", async () => {
      const agent = await listen();
      const slow = await welcomed({ subscribe: ["update_progress"] });
      const quick = await welcomed({ subscribe: ["connection"] });
      slow.socket.pause();
      const payload = "x".repeat(1000);
      const sent = 5000;
      for (let count = 0; count < sent; count += 1) agent.publish("update_progress", { count, payload });
      agent.publish("connection", { state: "connected" });
      assert.equal((await quick.next())["event"], "connection");
      slow.socket.resume();
      // This answer comes after all events that were not dropped.
      slow.send({ type: "request", id: "end", method: "echo" });
      let got = 0;
      while ((await slow.next())["type"] === "event") got += 1;
      assert.ok(got < sent, `${got} of ${sent} events came`);
    });

    it("reads no more requests of an application that does not read its answers", async () => {
      let asked = 0;
      await listen({
        methods: {
          big() {
            asked += 1;
            return "x".repeat(10_000);
          },
        },
      });
      const one = await welcomed();
      one.socket.pause();
      const requests = 5000;
      for (let id = 0; id < requests; id += 1)
        one.send({ type: "request", id: `${id} ${"y".repeat(500)}`, method: "big" });
      // Other applications are served at the same time.
      for (let count = 0; count < 50; count += 1) await (await welcomed()).close();
      assert.ok(asked < requests, `${asked} of ${requests} were answered to nobody`);
      one.socket.resume();
      for (let id = 0; id < requests; id += 1) await one.next();
      assert.equal(asked, requests);
    });

    it("stops although an application does not read", async () => {
      const agent = await listen();
      const slow = await welcomed({ subscribe: ["connection"] });
      slow.socket.pause();
      for (let count = 0; count < 2000; count += 1) agent.publish("connection", "x".repeat(1000));
      await agent.stop();
    });
  });

  describe("sends events", () => {
    it("to an application that subscribed to them", async () => {
      const agent = await listen();
      const one = await welcomed({ subscribe: ["connection"] });
      agent.publish("update_failed", { reason: "no" });
      agent.publish("connection", { state: "connecting" });
      assert.deepEqual(await one.next(), {
        type: "event",
        event: "connection",
        payload: { state: "connecting" },
      });
      assert.deepEqual((await one.request("subscribe", { events: ["update_failed"] }))["result"], {});
      agent.publish("connection", { state: "connected" });
      agent.publish("update_failed", { reason: "no" });
      assert.equal((await one.next())["event"], "update_failed");
      const { error } = await one.request("subscribe", { events: "all" });
      assert.equal((error as { readonly code: string }).code, "unsupported");
    });
  });

  describe("as a file", () => {
    it("is for its owner only, or has the configured mode", async () => {
      await listen();
      assert.equal((await stat(path)).mode & 0o777, 0o600);
      await server?.stop();
      await listen({ mode: 0o660 });
      assert.equal((await stat(path)).mode & 0o777, 0o660);
    });

    const skip = process.getuid?.() === 0 ? false : "only root can give a file to another group";
    it("belongs to the group that is configured", { skip }, async () => {
      const line = (await readFile("/etc/group", "utf8")).split("\n").find((text) => !text.endsWith(":0:"));
      const [group = "", , gid] = line?.split(":") ?? [];
      await listen({ mode: 0o660, group });
      assert.equal((await stat(path)).gid, Number(gid));
    });

    it("is refused with a group that does not exist", async () => {
      await assert.rejects(listen({ group: "nosuchgroup" }), {
        kind: "config",
        message: /state\.control_group: there is no group nosuchgroup/,
      });
    });

    it("is refused while another agent listens on it", async () => {
      await listen();
      const first = server;
      await assert.rejects(listen(), { kind: "unavailable", message: /another hublink already listens/ });
      await welcomed();
      await first?.stop();
    });

    it("replaces the socket that a killed agent left", async () => {
      path = join(dir, "stale.sock");
      const script = `require("node:net").createServer().listen(process.argv[1], () => process.kill(process.pid, "SIGKILL"))`;
      spawnSync(process.execPath, ["-e", script, path]);
      assert.ok((await stat(path)).isSocket());
      await listen();
      await welcomed();
    });

    it("never replaces a file of another kind", async () => {
      path = join(dir, "file");
      await writeFile(path, "precious");
      await assert.rejects(listen(), {
        kind: "config",
        message: /is a file of another kind, not a socket; name another path/,
      });
      assert.equal(await readFile(path, "utf8"), "precious");
    });
  });
});
