import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { RunningExtension } from "../../src/extensions/extension.ts";
import { createNetworkIdentity } from "../../src/extensions/network-identity.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { recordingLog } from "../board/recording-log.ts";
import { eventually } from "../eventually.ts";
import { FakeClock } from "../platform/fake-clock.ts";

const FIVE_MINUTES = 300_000;

describe("what network_identity tells by itself", () => {
  let dir: string;
  let file: string;
  let clock: FakeClock;
  let lines: string[];
  let told: unknown[];
  /** The line takes what is sent. */
  let open: boolean;
  let running: RunningExtension;
  const detached = new AbortController();
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "hublink-identity-"));
    file = join(dir, "address");
    clock = new FakeClock();
    lines = [];
    told = [];
    open = true;
    await writeFile(file, "100.64.0.7\n");
    running = await createNetworkIdentity({
      services: { tailscale: `command:cat ${file}`, "wireguard/wg0": "literal" },
      clock: systemClock, // of the commands, which are real processes
    }).start({
      push(event, payload) {
        if (open) told.push([event, payload]);
        return open;
      },
      clock,
      log: recordingLog(lines),
      signal: detached.signal,
      fail: (error) => assert.fail(String(error)),
    });
  });
  afterEach(async () => rm(dir, { recursive: true }));

  const look = async (): Promise<void> => {
    await clock.advance(FIVE_MINUTES);
    await eventually(() => clock.pending === 1, "it has looked and waits for the next time");
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

  it("is told once, each five minutes looked at, and told again when it has changed", async () => {
    await clock.advance(FIVE_MINUTES - 1);
    assert.deepEqual(told, []);
    await clock.advance(1);
    await eventually(() => clock.pending === 1, "it has looked");
    await look();
    assert.deepEqual(told, [report("100.64.0.7")]);
    await writeFile(file, "100.64.0.8\n");
    await look();
    await look();
    assert.deepEqual(told, [report("100.64.0.7"), report("100.64.0.8")]);
  });

  it("is told to a hub that asks, changed or not, and counts as told", async () => {
    await running.onMessage("request", {});
    await running.onMessage("request", {});
    await look();
    assert.deepEqual(told, [report("100.64.0.7"), report("100.64.0.7")]);
  });

  it("is told the next time when the line did not take it", async () => {
    open = false;
    await look();
    open = true;
    await look();
    assert.deepEqual(told, [report("100.64.0.7")]);
  });

  it("goes on when a command fails, and without what it would have said", async () => {
    await rm(file);
    await look();
    assert.deepEqual(told, [
      ["report", { identities: [{ service: "wireguard", identifier: "literal", instance: "wg0" }] }],
    ]);
    assert.match(lines.join("\n"), /warn network_identity\.services\.tailscale: .*address/);
    await writeFile(file, "100.64.0.7\n");
    await look();
    assert.deepEqual(told.at(-1), report("100.64.0.7"));
  });
});
