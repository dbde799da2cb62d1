/** Each extension on a whole agent: what it sends when the hub asks. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { appendFile, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { afterEach, describe, it } from "node:test";
import { connectToDaemon } from "../../src/control/client.ts";
import type { AgentStatus } from "../../src/control/agent-status.ts";
import { inTime } from "../eventually.ts";
import { IDENTIFIER, setUpBoard, type TestBoard } from "./board.ts";

interface Report {
  readonly value: {
    readonly timestamp: string;
    readonly metadata: Readonly<Record<string, string>>;
    readonly alarms: Readonly<Record<string, string>>;
    readonly metrics: Readonly<Record<string, number>>;
    readonly checks: Readonly<Record<string, { readonly pass: boolean; readonly note: string }>>;
  };
}

describe("extensions of a running agent", () => {
  let board: TestBoard;
  afterEach(async () => board.remove());

  const start = async (
    extensions: Readonly<Record<string, boolean>>,
    config: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {},
  ): Promise<void> => {
    board = await setUpBoard();
    await writeProc();
    await board.start({ extensions: { health: false, ...extensions }, ...config });
    const names = Object.keys(extensions).filter((name) => extensions[name] === true);
    await board.hub.until(() => names.every((name) => board.hub.device(IDENTIFIER).attached.has(name)));
  };
  /** The payloads of an event so far, once there are `count`. */
  const payloads = async (event: string, count = 1): Promise<unknown[]> => {
    const found = (): unknown[] =>
      board.hub
        .device(IDENTIFIER)
        .received.filter((message) => message.event === event)
        .map(({ payload }) => payload);
    await board.hub.until(() => found().length >= count);
    return found();
  };
  /** The answer to an application's request. */
  const ask = async (method: string, params?: unknown): Promise<unknown> => {
    const daemon = await connectToDaemon({ path: board.config().state.controlSocket });
    assert(daemon);
    try {
      return await daemon.request(method, params);
    } finally {
      daemon.close();
    }
  };
  /** The files of the board's kernel. */
  const writeProc = async (): Promise<void> => {
    const files = {
      "proc/stat": "cpu  100 0 100 600 200 0 0 0 0 0\ncpu0 100 0 100 600 200 0 0 0 0 0\n",
      "proc/device-tree/model": "Raspberry Pi Zero W Rev 1.1\0",
      "etc/os-release": 'NAME=Buildroot\nPRETTY_NAME="Buildroot 2026.08"\n',
      "proc/loadavg": "0.52 0.58 0.59 1/467 12345\n",
      "proc/meminfo":
        "MemTotal:         434108 kB\nMemFree:          100000 kB\nMemAvailable:     325581 kB\n",
      "sys/class/thermal/thermal_zone0/temp": "48312\n",
      "proc/net/dev":
        "Inter-|   Receive                                                |  Transmit\n" +
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n" +
        "    lo: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n" +
        " wlan0:1234567 10 0 0 0 0 0 0 765432 9 0 0 0 0 0 0\n",
    };
    for (const [path, text] of Object.entries(files)) {
      await mkdir(join(board.root, path, ".."), { recursive: true });
      await writeFile(join(board.root, path), text);
    }
  };

  it("health reports at once, under the names that the hub graphs, without an alarm when all is well", async () => {
    await start({ health: true });
    const [report] = (await payloads("health:report")) as Report[];
    assert(report);
    const { timestamp, metadata, alarms, metrics, checks } = report.value;
    assert.equal(timestamp, new Date(timestamp).toISOString());
    const {
      disk_total_kb: total,
      disk_available_kb: available,
      disk_used_percentage: used,
      ...rest
    } = metrics;
    assert.deepEqual(rest, {
      cpu_temp: 48.31,
      cpu_usage_percent: 20,
      load_1min: 0.52,
      load_5min: 0.58,
      load_15min: 0.59,
      mem_size_mb: 424,
      mem_used_mb: 106,
      mem_used_percent: 25,
      wlan0_bytes_received_total: 1234567,
      wlan0_bytes_sent_total: 765432,
    });
    assert(total !== undefined && available !== undefined && used !== undefined);
    assert.ok(total > available && used > 0 && used < 100);
    assert.match(metadata["agent"] ?? "", /^hublink \d/);
    assert.match(metadata["kernel"] ?? "", /^\d/);
    assert.equal(metadata["board"], "Raspberry Pi Zero W Rev 1.1");
    assert.equal(metadata["os"], "Buildroot 2026.08");
    if (used < 90) assert.deepEqual(alarms, {});
    assert.deepEqual(checks["updates"], { pass: true, note: "" });
  });

  it("health adds an application's metrics, which can't replace the agent's own", async () => {
    board = await setUpBoard({ hub: { extensions: [] } });
    await writeProc();
    await rm(join(board.root, "proc/device-tree"), { recursive: true }); // a computer: systeminformation is asked
    await board.start();
    const daemon = await connectToDaemon({ path: board.config().state.controlSocket });
    assert(daemon);
    assert.deepEqual(await daemon.request("metrics", { values: { "pump.rpm": 1450.5, load_1min: 99 } }), {});
    await assert.rejects(daemon.request("metrics", { values: { "": 1 } }), /metric's name/);
    const many = Object.fromEntries(Array.from({ length: 64 }, (_, n) => [`m${n}`, n]));
    await assert.rejects(daemon.request("metrics", { values: many }), /more than 64/);
    daemon.close();
    await board.hub.waitFor(IDENTIFIER, ({ topic, event }) => topic === "extensions" && event === "phx_join");
    board.hub.send(IDENTIFIER, "extensions", "attach", { extensions: ["health"] });
    await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "health:attached");
    board.hub.send(IDENTIFIER, "extensions", "health:check", {});
    const [report] = (await payloads("health:report")) as Report[];
    assert.equal(report?.value.metrics["pump.rpm"], 1450.5);
    assert.equal(report.value.metrics["load_1min"], 0.52);
    assert.equal(report.value.metrics["m1"], undefined);
  });

  it("geo reports the configured place, a command's answer, or why there is none", async () => {
    await start({ geo: true }, { geo: { source: "47.3769, 8.5417" } });
    assert.deepEqual(await payloads("geo:location:update"), [
      { source: "fixed", latitude: 47.3769, longitude: 8.5417 },
    ]);
    const json = '{"latitude":"-33.9","longitude":18.4,"accuracy":25}';
    await board.restart({
      extensions: { health: false, geo: true },
      geo: { source: `command:echo '${json}'` },
    });
    assert.deepEqual((await payloads("geo:location:update", 2))[1], {
      source: "command",
      latitude: -33.9,
      longitude: 18.4,
      accuracy: 25,
    });
    await board.restart({
      extensions: { health: false, geo: true },
      geo: { source: "command:echo nowhere; exit 3" },
    });
    assert.deepEqual((await payloads("geo:location:update", 3))[2], {
      error_code: "unavailable",
      error_description: "geo.source: the command ended with 3",
    });
    await board.restart({
      extensions: { health: false, geo: true },
      geo: { source: "command:echo 'no https://me:secret@geo.example/v1?key=secret' >&2; exit 3" },
    });
    assert.deepEqual((await payloads("geo:location:update", 4))[3], {
      error_code: "unavailable",
      error_description: "geo.source: the command ended with 3: no https://…@geo.example/v1?…",
    });
  });

  it("geo asks a service", async () => {
    const service = createServer((_request, response) => response.end('{"lat":1.5,"lon":-2.5,"city":"x"}'));
    await new Promise<void>((resolve) => service.listen(0, "127.0.0.1", resolve));
    const { port } = service.address() as AddressInfo;
    await start({ geo: true }, { geo: { source: `http://127.0.0.1:${port}/json?key=secret` } });
    assert.deepEqual(await payloads("geo:location:update"), [
      { source: "geoip", latitude: 1.5, longitude: -2.5 },
    ]);
    service.closeAllConnections();
    await inTime(new Promise((resolve) => service.close(resolve)), "the service closes");
  });

  it("geo limits how much it reads of a service's answer", async () => {
    const service = createServer((_request, response) => {
      const endless = async function* (): AsyncGenerator<Buffer> {
        for (;;) yield await Promise.resolve(Buffer.alloc(64 * 1024, " "));
      };
      pipeline(endless(), response).catch(() => undefined); // the agent hangs up
    });
    await new Promise<void>((resolve) => service.listen(0, "127.0.0.1", resolve));
    const { port } = service.address() as AddressInfo;
    await start({ geo: true }, { geo: { source: `http://127.0.0.1:${port}/` } });
    assert.deepEqual(await payloads("geo:location:update"), [
      { error_code: "unavailable", error_description: "geo.source answers with too much" },
    ]);
    service.closeAllConnections();
    await inTime(new Promise((resolve) => service.close(resolve)), "the service closes");
  });

  it("network_identity reports names: a fixed text, a command's output, or the value at a JSON pointer", async () => {
    const services = {
      wireguard: "pubkey=",
      "netbird/home": "command:echo nb-1; echo more",
      tailscale: `json:/Self/IDs/0 echo '{"Self":{"IDs":["n123",2]}}'`,
      iroh: "command:exit 1",
    };
    await start({ network_identity: true }, { network_identity: { services } });
    const [report] = await payloads("network_identity:report");
    assert.deepEqual(report, {
      identities: [
        { service: "wireguard", identifier: "pubkey=" },
        { service: "netbird", identifier: "nb-1", instance: "home" },
        { service: "tailscale", identifier: "n123" },
      ],
    });
    await board.saw(/network_identity.services.iroh: the command ended with 1/);
    board.hub.send(IDENTIFIER, "extensions", "network_identity:request", {});
    assert.deepEqual((await payloads("network_identity:report", 2))[1], report, "also unchanged, when asked");
  });

  it("logging sends the lines of the agent and of a command, redacted, but none about itself", async () => {
    board = await setUpBoard();
    const lines = join(board.dir, "lines");
    await writeFile(lines, "kernel: hello\n");
    const config = {
      extensions: { health: false, logging: true },
      logging: { command: `tail -n +1 -f ${lines}` },
    };
    await board.start(config);
    await board.hub.until(() => board.hub.device(IDENTIFIER).attached.has("logging"));
    type Sent = { level: string; message: string; timestamp: string; meta: Record<string, string> };
    const sent = async (text: string): Promise<Sent> => {
      const { payload } = await board.hub.waitFor(
        IDENTIFIER,
        (message) => message.event === "logging:send" && (message.payload as Sent).message.includes(text),
      );
      return payload as Sent;
    };
    const started = await sent("hublink started");
    assert.equal(started.level, "info");
    assert.equal(started.meta["scope"], "hublink");
    assert.equal(started.meta["identifier"], IDENTIFIER);
    assert.equal(Number(started.meta["time"]), Date.parse(started.timestamp) * 1000);
    const hello = await sent("kernel: hello");
    assert.equal(hello.meta["source"], "command");
    await appendFile(lines, "GET https://u:p@host/x?signature=abc\n");
    assert.equal((await sent("GET")).message, "GET https://…@host/x?…");
  });

  const PUMP = {
    ...{ identifier: "pump", label: "Pump" },
    action: [{ identifier: "restart", command: "echo restarted; env | grep -c HUBLINK" }],
    mode: [{ identifier: "speed", values: ["low", "high"], get: "echo low", set: ': "$1"' }],
  };

  it("components: a person presses a button and sets a mode, and the next health report shows its value", async () => {
    board = await setUpBoard({ hub: { api: "2.4" } });
    await writeProc();
    const file = join(board.dir, "speed");
    const speed = { ...PUMP.mode[0], get: `cat ${file}`, set: `echo "$1" > ${file}` };
    await board.start({ extensions: { health: true }, component: [{ ...PUMP, mode: [speed] }] });
    await board.hub.until(() => board.hub.device(IDENTIFIER).topology !== undefined);
    await payloads("health:report");
    const pressed = await board.hub.runAction(IDENTIFIER, "pump", "restart");
    assert.deepEqual([pressed["status"], pressed["output"]], ["error", "ended with 1\nrestarted\n0"]);
    const { status } = await board.hub.setMode(IDENTIFIER, "pump", "speed", "high");
    assert.equal(status, "ok");
    await board.hub.waitFor(
      IDENTIFIER,
      ({ event, payload }) =>
        event === "health:report" && (payload as Report).value.metadata["pump.speed"] === "high",
    );
  });

  it("components: a hub that does not know them attaches the others", async () => {
    board = await setUpBoard();
    await board.start({ extensions: { health: true }, component: [PUMP] });
    await board.hub.until(() => board.hub.device(IDENTIFIER).attached.has("health"));
    const daemon = await connectToDaemon({ path: board.config().state.controlSocket });
    assert(daemon);
    const { extension_states: states } = (await daemon.request("status")) as AgentStatus;
    const components = states.find(({ name }) => name === "components");
    assert.deepEqual(components, { name: "components", state: "off_at_hub", version: null });
    await assert.rejects(
      daemon.request("components", { components: [] }),
      /not enabled on this board; set extensions.components/,
    );
    daemon.close();
    assert.ok(!board.hub.device(IDENTIFIER).received.some(({ event }) => event === "components:attached"));
  });

  it("an older hub has no alarms and metrics, and gets an application's alarms with the health report", async () => {
    board = await setUpBoard({ hub: { api: "2.3" } });
    await board.start({ extensions: { alarms: true, metrics: true, health: true } });
    const record = board.hub.device(IDENTIFIER);
    await payloads("health:report");
    assert.deepEqual([...record.attached], ["health"]);
    await ask("alarm_raise", { alarm: "pump", description: "it does not turn" });
    board.hub.terminate(IDENTIFIER); // the next report is a new one
    await board.hub.until(() => record.alarms.has("pump"));
    assert.equal(record.alarms.get("pump")?.description, "it does not turn");
    assert.match(record.alarms.get("disconnected")?.description ?? "", /^the hub was lost once lately/);
    const { extension_states: states } = (await ask("status")) as AgentStatus;
    assert.deepEqual(
      states.filter(({ name }) => name === "alarms" || name === "metrics").map(({ state }) => state),
      ["off_at_hub", "off_at_hub"],
    );
  });

  describe("with today's hub, which says what it has switched on", () => {
    const startWith = async (
      extensions: readonly string[],
      config: Readonly<Record<string, boolean>>,
    ): Promise<void> => {
      board = await setUpBoard({ hub: { api: "2.4", extensions } });
      await board.start({ extensions: { health: false, ...config }, geo: { source: "47.3769, 8.5417" } });
    };

    it("logging comes in batches, with the lines from before the join", async () => {
      await startWith(["logging"], { logging: true });
      const { payload } = await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "logging:send");
      const { lines } = payload as { readonly lines: readonly { readonly message: string }[] };
      assert.ok(lines.some(({ message }) => message === "hublink started"));
    });

    it("metrics come with their times, as many as the hub takes, beside an application's", async () => {
      board = await setUpBoard({ hub: { api: "2.4", extensions: ["metrics"] } });
      await writeProc();
      await board.start({ extensions: { metrics: true } });
      const daemon = await connectToDaemon({ path: board.config().state.controlSocket });
      assert(daemon);
      const values = Object.fromEntries(Array.from({ length: 10 }, (_, n) => [`pump${n}`, n]));
      await daemon.request("metrics", { values });
      daemon.close();
      const before = Date.now();
      const record = board.hub.device(IDENTIFIER);
      const shown = (): Readonly<Record<string, number>> => record.metrics.at(-1)?.metrics ?? {};
      await board.hub.until(() => record.attached.has("metrics"));
      board.hub.send(IDENTIFIER, "extensions", "metrics:check", {});
      await board.hub.until(() => shown()["pump0"] !== undefined);
      const { atMs } = record.metrics.at(-1) ?? { atMs: 0 };
      assert.ok(atMs >= before - 1000 && atMs <= Date.now());
      assert.equal(shown()["mem_size_mb"], 424);
      assert.deepEqual(
        [shown()["pump8"], shown()["pump9"], shown()["wlan0_bytes_sent_total"]],
        [8, undefined, undefined],
      );
      await board.saw(/left out \(metrics="pump9, wlan0_bytes_received_total, wlan0_bytes_sent_total"\)/);
      assert.deepEqual(record.dropped, [], "the hub had nothing to drop");
    });

    it("alarms come when they are raised and cleared, and the health report leaves them out", async () => {
      board = await setUpBoard({ hub: { api: "2.4", extensions: ["alarms", "health"] } });
      await board.start({ extensions: { alarms: true } });
      const record = board.hub.device(IDENTIFIER);
      await board.hub.until(() => record.attached.has("alarms") && record.attached.has("health"));
      const beforeMs = Date.now();
      await ask("alarm_raise", { alarm: "pump", description: "it does not turn" });
      await ask("alarm_raise", { alarm: "valve" });
      await board.hub.until(() => record.alarms.has("pump") && record.alarms.has("valve"));
      const { description, raisedAtMs } = record.alarms.get("pump") ?? { raisedAtMs: 0 };
      assert.equal(description, "it does not turn");
      assert.ok(raisedAtMs >= beforeMs && raisedAtMs <= Date.now());
      await ask("alarm_clear", { alarm: "valve" });
      await board.hub.until(() => !record.alarms.has("valve"));
      await payloads("health:report", 1); // else the connection might end before it

      board.hub.terminate(IDENTIFIER);
      await board.hub.until(() => record.alarms.has("disconnected"));
      assert.equal(record.alarms.get("pump")?.raisedAtMs, raisedAtMs);
      const reports = (await payloads("health:report", 2)) as Report[];
      assert.ok(reports.every(({ value }) => !("alarms" in value) && "metrics" in value));
      board.hub.send(IDENTIFIER, "extensions", "detach", { extensions: "all" });
      await board.hub.until(() => record.attached.size === 0);
      board.hub.send(IDENTIFIER, "extensions", "attach", { extensions: ["health"] });
      const [, , last] = (await payloads("health:report", 3)) as Report[];
      assert.equal(last?.value.alarms["pump"], "it does not turn", "the health report has them again");
      assert.deepEqual(record.dropped, []);
    });

    it("the status shows which are attached, switched off at the hub, and off here", async () => {
      await startWith(["logging", "health"], { logging: true, geo: true });
      await board.hub.until(() => board.hub.device(IDENTIFIER).attached.has("logging"));
      const daemon = await connectToDaemon({ path: board.config().state.controlSocket });
      assert(daemon);
      const { extensions, extension_states: states } = (await daemon.request("status")) as AgentStatus;
      daemon.close();
      assert.deepEqual(extensions, ["logging"]);
      assert.deepEqual(states, [
        { name: "alarms", state: "off", version: null },
        { name: "components", state: "off", version: null },
        { name: "error_reports", state: "off", version: null },
        { name: "geo", state: "off_at_hub", version: null },
        { name: "health", state: "off", version: null },
        { name: "local_shell", state: "off", version: null },
        { name: "logging", state: "attached", version: "0.1.0" },
        { name: "metrics", state: "off", version: null },
        { name: "network_identity", state: "off", version: null },
      ]);
      assert.deepEqual(
        board.hub
          .device(IDENTIFIER)
          .received.filter(({ topic, event }) => topic === "extensions" && event === "phx_join")
          .map(({ payload }) => payload),
        [{ logging: "0.1.0" }],
      );
    });
  });
});
