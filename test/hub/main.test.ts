/** `npm run hub` as a person uses it: started as a program of its own, with lines on its standard input. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { loadConfig } from "../../src/config/load.ts";
import { inTime } from "../eventually.ts";
import { connect } from "./client.ts";

const MAIN = join(import.meta.dirname, "main.ts");

/** The running program. */
interface Program {
  /** Resolves to the first match in what it has printed so far, or will print. */
  reads(pattern: RegExp): Promise<RegExpExecArray>;
  types(line: string): void;
  /** Its exit code. */
  readonly ended: Promise<number | null>;
}

describe("npm run hub", () => {
  let dir: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "hub-main-"));
  });
  after(async () => rm(dir, { recursive: true }));

  it("makes a board, shows its messages, updates it, and keeps its certificates", async () => {
    const first = run("--port", "0", "--dir", dir);
    const [, url = ""] = await first.reads(/hub at (\S+),/);
    const [, configFile = ""] = await first.reads(/--config (\S+)/);
    const [, update = ""] = await first.reads(/^ {2}(update .*)$/m);
    const { config } = await loadConfig({ path: configFile, env: {} });
    assert.equal(config.hub.url.startsWith("wss://localhost:"), true);
    // As root, it could change the computer.
    assert.doesNotMatch(JSON.stringify(config), /"\/(data|run)\//);
    assert.equal(config.clock.guard, false);
    assert.equal(config.reboot.command, "kill -TERM $PPID");

    const { certFile: certFile, keyFile: keyFile } = config.identity.file;
    const options = {
      ca: await readFile(config.hub.caFile),
      cert: await readFile(certFile),
      key: await readFile(keyFile),
    };
    const { device } = await connect(`${url}/socket/websocket?vsn=2.0.0`, options);
    assert.ok(device);
    device.send(["1", "1", "device", "phx_join", { device_api_version: "2.3.0" }]);
    await first.reads(/demo-board > device phx_join/);
    device.send(["1", "2", "device", "status_update", { status: "received", reason: "\u001b[2J" }]);
    await first.reads(/status_update/);
    device.send(["1", "3", "device", "rebooting", {}]);
    await first.reads(/demo-board reboots, which ends its agent: start the agent again$/m);
    first.types("devices");
    await first.reads(/demo-board: online/);
    first.types("update nobody file");
    await first.reads(/nobody: not connected; "devices" shows who is/);
    first.types("update demo-board nofile");
    await first.reads(/firmware nofile does not exist/);
    first.types("mode demo-board sideways");
    await first.reads(/usage: mode ID automatic\|device-managed\|off \[allow\]/);
    first.types("fault drip 1");
    await first.reads(/usage: fault drip BYTES MS \[xTIMES\]/);
    first.types("fault drip 1 2 x3");
    await first.reads(/faults: drip 1\/2 ms/);
    first.types(update);
    await first.reads(/sent demo-board 2.0.0/);
    const frames = await device.count(3);
    assert.equal((frames.at(-1) as unknown[])[3], "update");
    first.types("disconnect demo-board");
    assert.equal(await device.closed(), 1001);
    first.types("quit");
    assert.equal(await first.ended, 0);
    const [output] = await first.reads(/^[^]*$/);
    assert.match(output, /^\d\d:\S+ demo-board < device update \{.{100,}\}$/m, "not cut on a pipe");
    assert.equal(output.includes("\u001b"), false);
    assert.equal(/token=/.test(output), false, "signed URLs are not printed");

    const second = run("--port", "0", "--dir", dir);
    await second.reads(/type "help"/);
    assert.deepEqual(await readFile(certFile), options.cert);
    second.types("quit");
    assert.equal(await second.ended, 0);
  });

  it("explains wrong arguments in one line", async () => {
    const wrong: [string[], RegExp, number][] = [
      [["--port", "x"], /^--port x: not a port; give a number up to 65535\n$/, 64],
      [["--api", "3"], /^--api 3: give 2\.3 or 2\.4\n$/, 64],
      [["--nonsense"], /Unknown option '--nonsense'.*--help lists the options/, 64],
      [["--firmware", "nofile"], /^firmware nofile does not exist\n$/, 1],
      [["--firmware", MAIN], /^firmware .*main\.ts: .*\n$/, 1],
      [["--public-key", "nofile"], /^public key nofile does not exist\n$/, 1],
    ];
    for (const [args, message, code] of wrong) {
      const program = run("--dir", dir, ...args);
      assert.equal(await program.ended, code, args.join(" "));
      await program.reads(message);
    }
  });
});

function run(...args: string[]): Program {
  const child = spawn(process.execPath, ["--import", "tsx", MAIN, ...args]);
  let output = "";
  let look = (): void => undefined;
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      look();
    });
  }
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  return {
    get ended() {
      return inTime(ended, () => `the end of the hub, which printed:\n${output}`);
    },
    types: (line) => child.stdin.write(`${line}\n`),
    async reads(pattern) {
      const read = new Promise<RegExpExecArray>((resolve, reject) => {
        look = () => {
          const match = pattern.exec(output);
          if (match !== null) resolve(match);
        };
        look();
        void ended.then(() => reject(new Error(`${String(pattern)} is not in:\n${output}`)));
      });
      return inTime(read, () => `${String(pattern)} in:\n${output}`);
    },
  };
}
