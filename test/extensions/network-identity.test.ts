/** How often the extension network_identity reports, and that one failing command hides no other name. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { RunningExtension } from "../../src/extensions/extension.ts";
import { NetworkIdentity } from "../../src/extensions/network-identity.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { recordingLog } from "../board/recording-log.ts";
import { eventually } from "../eventually.ts";
import { FakeClock } from "../platform/fake-clock.ts";

const FIVE_MINUTES = 300_000;

describe("the extension network_identity", () => {
  let dir: string;
  let file: string;
  let clock: FakeClock;
  let lines: string[];
  let sent: unknown[];
  /** Whether the line accepts messages. */
  let open: boolean;
  let running: RunningExtension;
  const detached = new AbortController();
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "hublink-identity-"));
    file = join(dir, "address");
    clock = new FakeClock();
    lines = [];
    sent = [];
    open = true;
    await writeFile(file, "100.64.0.7\n");
    const services = { tailscale: `command:cat ${file}`, "wireguard/wg0": "literal" };
    // The commands are real processes, so their limits run on the real clock.
    running = new NetworkIdentity({ services }, systemClock).start({
      push(event, payload) {
        if (open) sent.push([event, payload]);
        return open;
      },
      clock,
      log: recordingLog(lines),
      version: "0.0.1",
      signal: detached.signal,
      fail: (error) => assert.fail(String(error)),
    });
  });
  afterEach(async () => rm(dir, { recursive: true }));

  const poll = async (): Promise<void> => {
    await clock.advance(FIVE_MINUTES);
    await eventually(() => clock.pending === 1, "the end of the poll");
  };
  const report = (address: string): unknown => [
    "report",
    {
      identities: [
        { service: "tailscale", identifier: address },
        { service: "wireguard", identifier: "literal", instance: "wg0" },
      ],
    },
  ];

  it("polls every five minutes, and reports only when a name has changed", async () => {
    await clock.advance(FIVE_MINUTES - 1);
    assert.deepEqual(sent, []);
    await clock.advance(1);
    await eventually(() => clock.pending === 1, "the end of the poll");
    await poll();
    assert.deepEqual(sent, [report("100.64.0.7")]);
    await writeFile(file, "100.64.0.8\n");
    await poll();
    await poll();
    assert.deepEqual(sent, [report("100.64.0.7"), report("100.64.0.8")]);
  });

  it("reports each time the hub asks, and counts that as reported", async () => {
    await running.onMessage("request", {});
    await running.onMessage("request", {});
    await poll();
    assert.deepEqual(sent, [report("100.64.0.7"), report("100.64.0.7")]);
  });

  it("reports at the next poll when the line was full", async () => {
    open = false;
    await poll();
    open = true;
    await poll();
    assert.deepEqual(sent, [report("100.64.0.7")]);
  });

  it("reports the other names when a command fails", async () => {
    await rm(file);
    await poll();
    assert.deepEqual(sent, [
      ["report", { identities: [{ service: "wireguard", identifier: "literal", instance: "wg0" }] }],
    ]);
    assert.match(lines.join("\n"), /warn network_identity\.services\.tailscale: .*address/);
    await writeFile(file, "100.64.0.7\n");
    await poll();
    assert.deepEqual(sent.at(-1), report("100.64.0.7"));
  });
});
