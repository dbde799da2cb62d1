/** The way of a shell's output to the hub: batches, rates, back-pressure. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { silentLog } from "../../src/platform/log.ts";
import { OutputPump } from "../../src/remote/output-pump.ts";
import { FakeClock } from "../platform/fake-clock.ts";

describe("a shell's output on its way to the hub", () => {
  let clock: FakeClock;
  let pump: OutputPump;
  let sent: string[];
  let confirmations: ((confirmed: boolean) => void)[];
  let states: string[];
  let takes: boolean;
  beforeEach(() => {
    clock = new FakeClock();
    sent = [];
    confirmations = [];
    states = [];
    takes = true;
    pump = new OutputPump({
      sink: {
        send(text) {
          if (takes) sent.push(text);
          return takes;
        },
        confirm: async () => new Promise((resolve) => confirmations.push(resolve)),
      },
      clock,
      log: silentLog,
    });
    pump.on("full", () => states.push("full"));
    pump.on("room", () => states.push("room"));
    pump.setOpen(true);
  });
  afterEach(() => pump.stop());
  const all = (): string => sent.join("");

  it("is sent at once after a pause", () => {
    pump.push("$ ");
    assert.deepEqual(sent, ["$ "]);
  });

  it("is sent in batches when it comes in small pieces", async () => {
    for (const text of "abcdef") pump.push(text);
    await clock.advance(1000);
    assert.deepEqual(sent, ["a", "bcdef"]);
    await clock.advance(1000);
    assert.equal(clock.pending, 0);
  });

  it("is sent in messages of at most 8 KiB, 40 a second", async () => {
    pump.push("x".repeat(60_000));
    await clock.advance(100);
    assert.deepEqual(
      sent.map(({ length }) => length),
      [8192, 8192, 8192, 8192, 8192],
    );
  });

  it("waits until the hub has read the output before it", async () => {
    pump.push("x".repeat(200_000));
    await clock.advance(60_000);
    assert.equal(all().length, 65_536);
    confirmations.shift()?.(true);
    await clock.advance(60_000);
    assert.equal(all().length, 131_072);
  });

  it("makes the shell wait while 64 KiB of it wait, and then go on", async () => {
    pump.push("x".repeat(80_000));
    assert.deepEqual(states, ["full"]);
    assert.equal(pump.full, true);
    await clock.advance(25);
    assert.deepEqual(states, ["full", "room"]);
  });

  it("is kept while the hub is away, and sent when it is back", async () => {
    pump.setOpen(false);
    pump.push("kept");
    await clock.advance(60_000);
    assert.deepEqual(sent, []);
    pump.setOpen(true);
    assert.deepEqual(sent, ["kept"]);
  });

  it("is tried again when the line is full", async () => {
    takes = false;
    pump.push("patient");
    await clock.advance(1000);
    takes = true;
    await clock.advance(25);
    assert.deepEqual(sent, ["patient"]);
  });

  it("is never cut inside a character", async () => {
    const text = `x${"😀".repeat(8000)}`;
    pump.push(text);
    await clock.advance(10_000);
    assert.equal(all(), text);
    for (const part of sent)
      assert.equal(Buffer.from(part).toString(), part, "half a character is not UTF-8");
  });

  it("leaves no timer behind when it is stopped", async () => {
    pump.push("x".repeat(200_000));
    await clock.advance(50);
    pump.stop();
    await clock.advance(0);
    assert.equal(clock.pending, 0);
    const { length } = sent;
    pump.push("more");
    await clock.advance(1000);
    assert.equal(sent.length, length);
  });
});
