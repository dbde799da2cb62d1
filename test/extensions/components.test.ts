/** What people ask of a board's components, and what the hub gets to hear. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import fc from "fast-check";
import * as v from "valibot";
import { checkConfig } from "../../src/config/check.ts";
import type { Table } from "../../src/config/setting.ts";
import { ComponentsParams } from "../../src/control/messages.ts";
import type { ControllerAnswer } from "../../src/control/questions.ts";
import type { Caller } from "../../src/control/server.ts";
import { ApplicationComponents } from "../../src/extensions/application-components.ts";
import { Components } from "../../src/extensions/components.ts";
import { configuredComponents } from "../../src/extensions/configured-components.ts";
import type { ExtensionContext } from "../../src/extensions/extension.ts";
import { silentLog } from "../../src/platform/log.ts";
import { systemWorld } from "../../src/platform/world.ts";
import { eventually } from "../eventually.ts";
import { FakeClock } from "../platform/fake-clock.ts";

interface Message {
  readonly event: string;
  readonly payload: Readonly<Record<string, unknown>>;
}

describe("the components extension", () => {
  let dir: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "hublink-components-"));
  });
  after(async () => rm(dir, { recursive: true }));

  const setUp = (component: readonly Table[]) => {
    const file = { component, hub: { url: "hub.test" }, identity: { source: "uboot-env" } };
    const { config } = checkConfig(file, {}, "test");
    const clock = new FakeClock();
    const world = { ...systemWorld, clock };
    const environment = () => ({ PATH: process.env["PATH"] ?? "", HOME: dir });
    const configured = configuredComponents(config.component, { world, environment });
    const declared = new ApplicationComponents(configured, 30_000);
    const components = new Components({ configured, declared, clock, log: silentLog });
    const sent: Message[] = [];
    const attach = () => {
      const line = { open: true };
      const context: ExtensionContext = {
        ...{ clock, version: "0.0.1", log: silentLog, signal: new AbortController().signal },
        fail: (error) => assert.fail(String(error)),
        push(event, payload) {
          if (line.open) sent.push({ event, payload: payload as Message["payload"] });
          return line.open;
        },
      };
      const running = components.start(context);
      return {
        receive: (event: string, payload: unknown = {}) => void running.onMessage(event, payload),
        async detach() {
          line.open = false;
          await running.stop?.();
        },
      };
    };
    const answer = async (ref: string): Promise<Message["payload"]> => {
      const found = () => sent.find(({ payload }) => payload["ref"] === ref);
      await eventually(() => found() !== undefined, `the result of ${ref}`);
      return found()?.payload ?? {};
    };
    const act = async (hub: ReturnType<typeof attach>, action: string, ref = action) => {
      hub.receive("action:run", { ref, component: "pump", action });
      return answer(ref);
    };
    const set = async (hub: ReturnType<typeof attach>, value: string, mode = "speed", ref = value) => {
      hub.receive("mode:set", { ref, component: "pump", mode, value });
      return answer(ref);
    };
    return { clock, components, declared, sent, attach, answer, act, set };
  };
  const pump = (actions: Readonly<Record<string, string>>, more: Table = {}): Table => ({
    identifier: "pump",
    action: Object.entries(actions).map(([identifier, command]) => ({ identifier, command })),
    ...more,
  });
  const speed = (values: readonly string[], set: string, get = ""): Table => ({
    mode: [{ identifier: "speed", label: "Speed", values, set, get }],
  });

  it("reports what there is, without a word of the commands", () => {
    const { sent, attach } = setUp([
      {
        ...{ identifier: "pump", label: "Pump", metrics: ["pump_rpm"] },
        action: [{ identifier: "restart", label: "Restart", confirm: true, command: "secret" }],
        ...speed(["low", "high"], 'secret "$1"', "secret"),
      },
      { identifier: "door" },
    ]);
    attach().receive("request");
    assert.deepEqual(sent, [
      {
        event: "report",
        payload: {
          assemblies: [
            {
              identifier: "board",
              label: "Board",
              components: [
                {
                  ...{ identifier: "pump", label: "Pump", metrics: ["pump_rpm"] },
                  actions: [{ identifier: "restart", label: "Restart", confirm: true }],
                  modes: [
                    {
                      ...{ identifier: "speed", label: "Speed" },
                      ...{ values: ["low", "high"], metadata_key: "pump.speed" },
                    },
                  ],
                },
                { identifier: "door", metrics: [], actions: [], modes: [] },
              ],
            },
          ],
          networks: [],
        },
      },
    ]);
  });

  it("runs an action, and sends both of its outputs in their order", async () => {
    const { sent, attach, act } = setUp([pump({ restart: "echo one; echo two >&2; echo three" })]);
    await act(attach(), "restart", "r1");
    assert.deepEqual(sent, [
      {
        event: "action:result",
        payload: {
          ...{ ref: "r1", component: "pump", action: "restart" },
          ...{ status: "ok", output: "one\ntwo\nthree" },
        },
      },
    ]);
  });

  it("gives a value to the command as an argument: no shell reads it", async () => {
    const bad = join(dir, "bad");
    const values = [`$(touch ${bad})`, `"; touch ${bad}; "`, "-n", "two words"];
    const { attach, set } = setUp([pump({}, speed(values, `printf '%s|' "$1" "$#"`))]);
    const hub = attach();
    for (const value of values) {
      const { status, output, mode } = await set(hub, value);
      assert.deepEqual({ status, output, mode }, { status: "ok", output: `${value}|1|`, mode: "speed" });
    }
    assert.ok(!existsSync(bad));
  });

  it("refuses what it did not report, and runs nothing", async () => {
    const ran = join(dir, "ran");
    const { attach, set, act, answer } = setUp([
      pump({ restart: `touch ${ran}` }, speed(["low"], `touch ${ran} "$1"`)),
    ]);
    const hub = attach();
    hub.receive("action:run", { ref: "a", component: "door", action: "restart" });
    hub.receive("mode:set", { ref: "b", component: "door", mode: "speed", value: "low" });
    const answers = [
      await answer("a"),
      await answer("b"),
      await act(hub, "speed"),
      await set(hub, "low", "restart"),
      await set(hub, "high"),
    ];
    assert.deepEqual(
      answers.map(({ status, output }) => `${String(status)}: ${String(output)}`),
      [
        "error: unknown component",
        "error: unknown component",
        "error: unknown action",
        "error: unknown mode",
        "error: invalid value",
      ],
    );
    assert.ok(!existsSync(ran));
  });

  it("says how a command failed, before its output", async () => {
    const { attach, act } = setUp([
      pump({ fail: "echo no power; exit 3", die: "kill -9 $$", silent: "exit 1" }),
    ]);
    const hub = attach();
    assert.deepEqual((await act(hub, "fail"))["output"], "ended with 3\nno power");
    assert.deepEqual((await act(hub, "die"))["output"], "ended by a signal");
    const { status, output } = await act(hub, "silent");
    assert.deepEqual([status, output], ["error", "ended with 1"]);
  });

  it("cuts the output at 8192 characters, and none of them in two", async () => {
    const { attach, act } = setUp([
      pump({
        flood: "yes 12345678 | head -n 100000",
        emoji: "yes 😀 | head -n 9000 | tr -d '\\n'",
      }),
    ]);
    const hub = attach();
    const flood = String((await act(hub, "flood"))["output"]);
    assert.deepEqual([flood.length, flood.at(-1)], [8192, "…"]);
    const emoji = String((await act(hub, "emoji"))["output"]);
    assert.ok(emoji.length >= 8190 && emoji.length <= 8192, String(emoji.length));
    assert.equal(Buffer.from(emoji).toString(), emoji);
  });

  it("ends a command that takes too long, with everything that it started", async () => {
    const pids = join(dir, "pids");
    const command = `sleep 1000 & echo $! > ${pids}; echo begun; sleep 1000`;
    const { clock, attach, answer } = setUp([pump({ hang: command }, { timeout_s: 5 })]);
    attach().receive("action:run", { ref: "1", component: "pump", action: "hang" });
    const pid = async () => (await readFile(pids, "utf8").catch(() => "")).trim();
    await eventually(async () => (await pid()) !== "", "the command's child");
    await clock.advance(5000);
    const { status, output } = await answer("1");
    assert.deepEqual([status, String(output).split("\n")[0]], ["error", "ended after 5 s"]);
    const child = await pid();
    const state = async () =>
      (await readFile(`/proc/${child}/stat`, "utf8").catch(() => "gone")).split(" ")[2];
    await eventually(async () => [undefined, "Z"].includes(await state()), "the end of the child");
  });

  it("gives the commands none of the agent's variables", async () => {
    process.env["HUBLINK_TEST_SECRET"] = "hunter2";
    const { components, attach, act, set } = setUp([
      pump({ env: "env" }, speed(["low"], 'env; : "$1"', "env | grep -c HUBLINK || true")),
    ]);
    const hub = attach();
    const shown = [(await act(hub, "env"))["output"], (await set(hub, "low"))["output"]];
    assert.match(shown.join(), /PATH=/);
    assert.doesNotMatch(shown.join(), /HUBLINK/);
    assert.deepEqual(await components.values(), { "pump.speed": "0" });
    delete process.env["HUBLINK_TEST_SECRET"];
  });

  it("does one thing at a time for each component; a second request is refused", async () => {
    const go = join(dir, "go");
    const wait = `while [ ! -e ${go} ]; do sleep 0.01; done`;
    const { attach, answer, act } = setUp([
      pump({ restart: wait, stop: "echo stopped" }),
      { ...pump({ open: "echo open" }), identifier: "door" },
    ]);
    const hub = attach();
    hub.receive("action:run", { ref: "1", component: "pump", action: "restart" });
    assert.deepEqual(
      (await act(hub, "stop"))["output"],
      "pump is busy with the request before; try again later",
    );
    hub.receive("action:run", { ref: "2", component: "door", action: "open" });
    assert.equal((await answer("2"))["output"], "open");
    await rm(go, { force: true });

    await writeFile(go, "");
    assert.equal((await answer("1"))["status"], "ok");
    assert.equal((await act(hub, "stop", "3"))["output"], "stopped");
  });

  it("does four things at a time on the whole board", async () => {
    const names = ["a", "b", "c", "d", "e"];
    const { components, attach, answer } = setUp(
      names.map((identifier) => ({ ...pump({ wait: "sleep 1000" }), identifier })),
    );
    const hub = attach();
    for (const component of names) hub.receive("action:run", { ref: component, component, action: "wait" });
    assert.equal((await answer("e"))["output"], "4 components are busy already; try again later");
    await components.stop();
  });

  it("answers the first requests of a flood only", () => {
    const { sent, attach } = setUp([pump({})]);
    const hub = attach();
    for (let n = 0; n < 1000; n += 1)
      hub.receive("action:run", { ref: `${n}`, component: "pump", action: "x" });
    assert.equal(sent.length, 20);
  });

  it("goes on without its connection, and sends the result on the next one", async () => {
    const done = join(dir, "done");
    const { clock, sent, attach } = setUp([pump({ network: `sleep 0.05; touch ${done}; echo up` })]);
    const first = attach();
    first.receive("action:run", { ref: "1", component: "pump", action: "network" });
    await first.detach();
    await eventually(() => existsSync(done), "the end of the command");
    attach();
    await eventually(async () => {
      await clock.advance(0);
      return sent.length > 0;
    }, "the result");
    assert.deepEqual(
      sent.map(({ payload }) => [payload["ref"], payload["output"]]),
      [["1", "up"]],
    );
  });

  it("ends its commands with the agent, and sends nothing about them", async () => {
    const { components, sent, attach, act } = setUp([pump({ wait: "sleep 1000", other: "true" })]);
    const hub = attach();
    hub.receive("action:run", { ref: "1", component: "pump", action: "wait" });
    await components.stop();
    assert.deepEqual(sent, []);
    assert.equal((await act(hub, "other"))["output"], "the agent stops; try again later");
  });

  it("reads the values of modes: anew after a request, and at most every 10 s otherwise", async () => {
    const now = join(dir, "now");
    const { clock, components, attach, set } = setUp([
      pump({}, speed(["low", "high"], `echo "$1" > ${now}`, `cat ${now}; echo more`)),
      { ...pump({}, speed(["low"], ': "$1"', "exit 1")), identifier: "broken" },
      { ...pump({}, speed(["low"], ': "$1"')), identifier: "silent" },
    ]);
    const hub = attach();
    await set(hub, "low");
    assert.deepEqual(await components.values(), { "pump.speed": "low" });
    await rm(now);
    assert.deepEqual(await components.values(), { "pump.speed": "low" });
    await set(hub, "high");
    assert.deepEqual(await components.values(), { "pump.speed": "high" });

    await writeFile(now, "  \u001b[31mred  \n");
    await clock.advance(10_000);
    assert.deepEqual(await components.values(), { "pump.speed": "\\x1b[31mred" });
  });

  it("survives every message of the hub, and answers each at most once", async () => {
    const { components, sent, attach } = setUp([pump({ restart: "true" }, speed(["low"], ': "$1"'))]);
    const hub = attach();
    const text = fc.oneof(fc.constantFrom("pump", "restart", "speed", "low", "__proto__"), fc.string());
    const value = fc.oneof({ arbitrary: text, weight: 4 }, { arbitrary: fc.jsonValue(), weight: 1 });
    const payload = fc.oneof(
      fc.record({ ref: value, component: value, action: value, mode: value, value }, { requiredKeys: [] }),
      fc.jsonValue(),
    );
    const event = fc.oneof(fc.constantFrom("request", "action:run", "mode:set"), fc.string());
    fc.assert(
      fc.property(event, payload, (name, content) => {
        const before = sent.length;
        hub.receive(name, content);
        assert.ok(sent.length <= before + 1);
      }),
      { numRuns: 2000 },
    );
    await components.stop();
  });

  describe("with an application that declares some", () => {
    const application = (answer: (params: object) => ControllerAnswer = () => ({ type: "timeout" })) => {
      const gone = new AbortController();
      const asked: unknown[] = [];
      const caller: Caller = {
        gone: gone.signal,
        async ask(method, params) {
          asked.push([method, params]);
          return Promise.resolve(answer(params as object));
        },
      };
      return { caller, asked, leave: () => gone.abort(new Error("gone")) };
    };
    const params = (...components: object[]): ComponentsParams => v.parse(ComponentsParams, { components });
    const valve = {
      identifier: "valve",
      actions: [{ identifier: "flush", confirm: true }],
      modes: [{ identifier: "state", values: ["open", "shut"], value: "shut" }],
    };

    it("reports again by itself what has changed: at most once a second, and never the same", async () => {
      const { clock, declared, sent, attach } = setUp([pump({})]);
      const { caller, leave } = application();
      const names = () =>
        sent.map(({ payload }) =>
          (payload["assemblies"] as { components: { identifier: string }[] }[]).flatMap(({ components }) =>
            components.map(({ identifier }) => identifier),
          ),
        );
      const hub = attach();
      assert.equal(declared.declare(caller, params(valve)), undefined);
      await clock.advance(5000);
      assert.deepEqual(names(), [], "nothing before the hub asks");
      hub.receive("request");
      for (let n = 0; n < 10; n += 1)
        declared.declare(caller, params(valve, { ...valve, identifier: `v${n}` }));
      await clock.advance(1000);
      declared.declare(caller, params(valve, { ...valve, identifier: "v9", modes: [] }));
      declared.declare(caller, params(valve, { ...valve, identifier: "v9" }));
      await clock.advance(1000);
      leave();
      await clock.advance(1000);
      assert.deepEqual(names(), [["pump", "valve"], ["pump", "valve", "v9"], ["pump"]]);
      assert.equal(clock.pending, 0);
    });

    it("asks the application, and passes on what it answers", async () => {
      const { components, declared, attach, answer } = setUp([]);
      const answers: Record<string, ControllerAnswer> = {
        flush: { type: "result", result: { output: "flushed \ud83d" } },
        open: { type: "result", result: null },
        shut: { type: "error", code: "jammed", message: "the valve is jammed" },
      };
      const { caller, asked } = application((given) => {
        const { action, value } = given as { action?: string; value?: string };
        return answers[action ?? value ?? ""] ?? { type: "timeout" };
      });
      declared.declare(caller, params(valve));
      assert.deepEqual(await components.values(), { "valve.state": "shut" });
      const hub = attach();
      hub.receive("action:run", { ref: "1", component: "valve", action: "flush" });
      assert.equal((await answer("1"))["output"], "flushed \ufffd", "never half a character");
      hub.receive("mode:set", { ref: "2", component: "valve", mode: "state", value: "open" });
      assert.equal((await answer("2"))["status"], "ok");
      assert.deepEqual(await components.values(), { "valve.state": "open" });
      hub.receive("mode:set", { ref: "3", component: "valve", mode: "state", value: "shut" });
      const { status, output } = await answer("3");
      assert.deepEqual([status, output], ["error", "the valve is jammed"]);
      assert.deepEqual(await components.values(), { "valve.state": "open" });
      assert.deepEqual(asked, [
        ["component_action", { component: "valve", action: "flush" }],
        ["component_mode", { component: "valve", mode: "state", value: "open" }],
        ["component_mode", { component: "valve", mode: "state", value: "shut" }],
      ]);
    });

    for (const [answered, output] of [
      [{ type: "timeout" }, "the application gave no answer in 30 s"],
      [{ type: "no-controller" }, "the application has gone"],
      [{ type: "result", result: { output: 7 } }, "the application gave an answer that can't be understood"],
    ] as const) {
      it(`says why there is no result: ${output}`, async () => {
        const { declared, attach, answer } = setUp([]);
        declared.declare(application(() => answered).caller, params(valve));
        attach().receive("action:run", { ref: "1", component: "valve", action: "flush" });
        const result = await answer("1");
        assert.deepEqual([result["status"], result["output"]], ["error", output]);
      });
    }

    it("takes no name twice, and keeps what was declared before", () => {
      const { declared } = setUp([pump({})]);
      const [one, other] = [application(), application()];
      assert.equal(declared.declare(one.caller, params(valve)), undefined);
      for (const [caller, given, problem] of [
        [one.caller, params({ identifier: "pump" }), "there is a component pump already"],
        [other.caller, params(valve), "there is a component valve already"],
        [
          one.caller,
          params({ ...valve, actions: [...valve.actions, ...valve.actions] }),
          "there is a valve action flush already",
        ],
        [
          one.caller,
          params({ ...valve, modes: [...valve.modes, ...valve.modes] }),
          "there is a valve mode state already",
        ],
        [
          other.caller,
          params(
            ...Array.from({ length: 32 }, (_, n) => ({
              identifier: `c${n}`,
              metrics: Array.from({ length: 20 }, () => "m".repeat(64)),
            })),
          ),
          "more than 24 KiB of components, from all applications together",
        ],
      ] as const) {
        assert.equal(declared.declare(caller, given), problem);
      }
      assert.deepEqual(
        declared.components.map(({ identifier }) => identifier),
        ["valve"],
      );
      assert.equal(declared.declare(one.caller, params(valve)), undefined, "its own may be declared again");
    });

    it("takes from a declaration only names and texts that the hub can show", () => {
      const text = fc.oneof(fc.string(), fc.constantFrom("a", " a", "a\n", "\ud83d", "x".repeat(65)));
      const words = fc.array(text, { maxLength: 3 });
      const component = fc.record(
        {
          identifier: text,
          label: text,
          metrics: words,
          actions: fc.array(fc.record({ identifier: text, label: text, confirm: fc.boolean() })),
          modes: fc.array(fc.record({ identifier: text, values: words, value: text })),
        },
        { requiredKeys: ["identifier"] },
      );
      const given = fc.oneof(fc.record({ components: fc.array(component) }), fc.jsonValue());
      fc.assert(
        fc.property(given, (value) => {
          const { success, output } = v.safeParse(ComponentsParams, value);
          if (!success) return;
          for (const { identifier, label, modes } of output.components) {
            assert.match(identifier, /^[\w-]{1,64}$/);
            assert.match(label, /^[^\p{Cc}\p{Cs}]{0,64}$/u);
            for (const { values } of modes) assert.ok(values.every((shown) => shown === shown.trim()));
          }
        }),
        { numRuns: 2000 },
      );
    });
  });
});
