/** Each binary, run natively or by QEMU's user emulation, does the agent's main work. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { describe, it } from "node:test";
import { missingToRun, starterOf } from "../../scripts/package/emulation.ts";
import { baseOf, TARGETS, type Target } from "../../scripts/package/manifest.ts";
import { VERSION } from "../../src/version.ts";
import { IDENTIFIER, setUpBoard } from "../agent/board.ts";
import { readDisk } from "../fwup/disk-content.ts";

for (const target of TARGETS) {
  describe(`the binary for ${target}`, { skip: reasonToSkip(target) }, () => {
    it("prints its version, and nothing else", async () => {
      assert.deepEqual(await hublink(target, ["--version"]), {
        code: 0,
        stdout: `hublink ${VERSION}\n`,
        stderr: "",
      });
    });

    it("reads its command line as the bundle does", async () => {
      const { code, stderr } = await hublink(target, ["reboto"]);
      assert.equal(code, 64);
      assert.match(stderr, /there is no command reboto; did you mean reboot\?/);
    });

    it("checks a board, joins its hub over TLS with a client certificate, and updates", async () => {
      const board = await setUpBoard();
      try {
        const config = await board.writeConfig();
        const check = await hublink(target, ["check", "--config", config]);
        assert.equal(check.code, 0, check.stdout + check.stderr);

        const device = board.hub.device(IDENTIFIER);
        const agent = start(target, ["run", "--config", config]);
        const stderr = text(agent.stderr);
        const exit = once(agent, "exit") as Promise<[number | null]>;
        try {
          const died = exit.then(async () => assert.fail(`the agent has ended: ${await stderr}`));
          await Promise.race([died, board.hub.until(() => device.online)]);
          assert.equal(device.firmware?.["version"], "1.0.0");

          const update = await board.firmware("2.0.0");
          board.hub.deploy(await board.hub.publish(update.path, update.meta));
          const settled = () => device.statuses.some(({ status }) => /^(completed|failed)$/.test(status));
          await Promise.race([died, board.hub.until(settled)]);
          assert.equal(device.statuses.at(-1)?.status, "completed");
          await board.untilRebooted(1);
        } finally {
          agent.kill("SIGTERM");
          await exit;
        }
        assert.equal((await exit)[0], 0);
        assert.doesNotMatch(await stderr, /Warning|defect/);
        const { environment } = await readDisk(board.disk, 0);
        assert.equal(environment["nerves_fw_active"], "b");
        assert.equal(environment["b.nerves_fw_version"], "2.0.0");
      } finally {
        await board.remove();
      }
    });
  });
}

function binaryOf(target: Target): string {
  return join(import.meta.dirname, `../../dist/hublink-linux-${target}`);
}

function reasonToSkip(target: Target): string | false {
  if (!existsSync(binaryOf(target))) return `dist/hublink-linux-${target} is missing: npm run package`;
  return missingToRun(baseOf(target)) ?? false;
}

function start(target: Target, args: readonly string[]) {
  const line: readonly string[] = [...starterOf(baseOf(target), target), binaryOf(target)];
  const [program = "", ...before] = line;
  return spawn(program, [...before, ...args], { stdio: ["ignore", "pipe", "pipe"] });
}

async function hublink(target: Target, args: readonly string[]) {
  const child = start(target, args);
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "exit") as Promise<[number | null]>,
  ]);
  return { code, stdout, stderr };
}
