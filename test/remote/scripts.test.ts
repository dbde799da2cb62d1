/** Support scripts that the hub's users run on the board. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { Scripts, type ScriptsOptions } from "../../src/remote/scripts.ts";
import type { ScriptResult } from "../../src/hub/device-messages.ts";
import { type Clock, systemClock } from "../../src/platform/clock.ts";
import { silentLog } from "../../src/platform/log.ts";
import { eventually, inTime } from "../eventually.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { testWorld } from "../platform/world.ts";
import { untilGone } from "./shell-on.ts";

describe("support scripts", () => {
  let scripts: Scripts;
  let answers: Map<string, ScriptResult>;
  let wake: () => void;
  let dir: string;
  beforeEach(() => {
    answers = new Map();
    wake = () => undefined;
    dir = mkdtempSync(join(tmpdir(), "hublink-scripts-"));
    setUp();
  });
  afterEach(async () => {
    await scripts.stop();
    rmSync(dir, { recursive: true });
  });
  const setUp = (config: Partial<ScriptsOptions["config"]> = {}, clock: Clock = systemClock): void => {
    scripts = new Scripts({
      config: { enabled: true, interpreter: ["/bin/sh"], timeoutMs: 10_000, maxOutputKib: 1, ...config },
      environment: () => ({ HUBLINK_IDENTIFIER: "board-1", HUBLINK_FIRMWARE_VERSION: "1.0.0" }),
      world: testWorld({ clock }),
      log: silentLog,
    });
    scripts.on("result", (result) => {
      answers.set(result.ref, result);
      wake();
    });
  };
  const answered = async (ref: string): Promise<ScriptResult> => {
    for (;;) {
      const answer = answers.get(ref);
      if (answer !== undefined) return answer;
      await inTime(new Promise<void>((resolve) => (wake = resolve)), `the answer to script ${ref}`);
    }
  };
  let lastRef = 0;
  const run = async (text: string, timeoutMs?: number): Promise<ScriptResult> => {
    const ref = `ref-${++lastRef}`;
    scripts.run({ ref, text, timeoutMs });
    return answered(ref);
  };

  it("get nothing of the agent's environment that may be secret", async () => {
    const secrets = {
      HTTPS_PROXY: "http://u:s3cret@proxy",
      HUBLINK_HUB__PROXY: "http://u:s3cret@proxy",
      SOME_TOKEN: "s3cret",
    };
    Object.assign(process.env, secrets);
    try {
      const { output } = await run("env");
      assert.doesNotMatch(output, /s3cret/);
      const names = output.split("\n").flatMap((line) => /^(\w+)=/.exec(line)?.[1] ?? []);
      for (const name of ["PATH", "HOME", "USER", "HUBLINK_IDENTIFIER"])
        assert.ok(names.includes(name), `${name} is missing`);
    } finally {
      for (const name of Object.keys(secrets)) Reflect.deleteProperty(process.env, name);
    }
  });

  it("that are refused are answered, but a flood of them only in part", async () => {
    const clock = new FakeClock();
    setUp({ enabled: false }, clock);
    const flood = (name: string): void => {
      for (let count = 0; count < 1000; count += 1)
        scripts.run({ ref: `${name}-${count}`, text: "true", timeoutMs: undefined });
    };
    flood("first");
    assert.equal(answers.size, 20);
    assert.match(answers.get("first-19")?.return ?? "", /not enabled/);
    await clock.advance(2000);
    flood("second");
    assert.equal(answers.size, 22);
  });

  it("are answered with both outputs in the order in which they were written", async () => {
    const { result, output, return: returned } = await run("echo one; echo two >&2; echo three");
    assert.deepEqual([result, output, returned], ["completed", "one\ntwo\nthree\n", ""]);
  });

  it("are answered with the output and the exit code when they fail", async () => {
    const answer = await run("echo so far; exit 3");
    assert.deepEqual(
      { ...answer, ref: "" },
      { ref: "", result: "error", output: "so far\n", return: "exit code 3", reason: "exit code 3" },
    );
  });

  it("have the identifier and the firmware in their environment", async () => {
    const { output } = await run("echo $HUBLINK_IDENTIFIER $HUBLINK_FIRMWARE_VERSION");
    assert.equal(output, "board-1 1.0.0\n");
  });

  it("run in the interpreter of their #! line, otherwise in the one that is configured", async () => {
    assert.equal((await run("#!/usr/bin/env node\nconsole.log(1 + 1)")).output, "2\n");
    assert.equal((await run("#! /bin/sh -e\r\nfalse\necho never\n")).return, "exit code 1");
    setUp({ interpreter: [process.execPath, "--no-warnings"] });
    assert.equal((await run("console.log(process.execArgv[0])")).output, "--no-warnings\n");
    assert.match((await run("#!/no/such/tool\n")).output, /\/no\/such\/tool/);
  });

  it("have their output cut at the limit, with a note", async () => {
    const { result, output } = await run("head -c 1000000 /dev/zero | tr '\\0' x");
    assert.equal(result, "completed");
    assert.equal(output, `${"x".repeat(1024)}\n[output cut after 1 KiB]`);
  });

  it("are ended with everything they started when their time is up", async () => {
    const nap = `sleep 3${process.pid}`;
    const { output, reason } = await run(`echo begun; ${nap} & ${nap}`, 500);
    assert.deepEqual([output, reason], ["begun\n", "ended after 0.5 s"]);
    await untilGone(nap);
  });

  it("are ended before the hub forgets them, except for the connecting code", async () => {
    const clock = new FakeClock();
    setUp({ timeoutMs: 60_000 }, clock);
    const fifo = join(dir, "begun");
    writeFileSync(fifo, "");
    scripts.run({ ref: "a", text: "sleep 1000", timeoutMs: 30_000 });
    scripts.run({ ref: "connecting_code", text: "sleep 1000", timeoutMs: undefined });
    await eventually(() => clock.pending === 2, "both scripts have their limits");
    await clock.advance(14_000);
    assert.equal((await answered("a")).reason, "ended after 14 s");
    await clock.advance(46_000);
    assert.equal((await answered("connecting_code")).reason, "ended after 60 s");
  });

  it("that are Elixir are not run by a shell, and the answer says so", async () => {
    const touched = join(dir, "touched");
    for (const text of [
      `File.touch("${touched}")\nIO.puts("hello")`,
      'Nerves.Runtime.KV.get("a_nerves_fw_version") |> IO.inspect()',
      "defmodule A do\n  def b(c), do: c\nend",
      "VintageNet.info",
      ":os.type",
      "Application.get_env(:app, :key)",
    ]) {
      const { result, reason } = await run(text);
      assert.equal(result, "error", text);
      assert.match(reason ?? "", /looks like Elixir, which this board does not have: .* \/bin\/sh/, text);
    }
    assert.deepEqual(readdirSync(dir), []);
  });

  it("that only look like Elixir are run", async () => {
    for (const text of ["if true; then echo (; fi", "no-such-command", "exit 127"]) {
      assert.doesNotMatch((await run(text)).reason ?? "", /Elixir/, text);
    }
    const { output } = await run('case "A.b |> :c.d" in *) echo "IO.puts (1)";; esac');
    assert.equal(output, "IO.puts (1)\n");
  });

  it("run four at a time, and once for each ref", async () => {
    for (let n = 0; n < 1000; n += 1)
      scripts.run({ ref: `flood-${n % 10}`, text: "sleep 1000", timeoutMs: 500 });
    const { reason } = await answered("flood-9");
    assert.match(reason ?? "", /4 scripts are running already; try again later/);
    assert.deepEqual(
      [...answers.keys()].sort(),
      [4, 5, 6, 7, 8, 9].map((n) => `flood-${n}`),
    );
    assert.equal((await answered("flood-0")).reason, "ended after 0.5 s");
  });

  it("are answered with a refusal where they are not enabled", async () => {
    setUp({ enabled: false });
    const { result, reason } = await run("echo x");
    assert.deepEqual([result, reason], ["error", "scripts are not enabled on this board"]);
  });

  it("end with the agent, without an answer", async () => {
    const nap = `sleep 2${process.pid}`;
    scripts.run({ ref: "a", text: nap, timeoutMs: undefined });
    await scripts.stop();
    await untilGone(nap);
    assert.equal(answers.size, 0);
  });

  it("that come while the agent stops are refused with that reason", async () => {
    const stopped = scripts.stop();
    scripts.run({ ref: "late", text: "echo x", timeoutMs: undefined });
    await stopped;
    assert.equal(answers.get("late")?.reason, "the agent stops; try again later");
  });
});
