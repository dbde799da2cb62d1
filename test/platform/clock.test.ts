/** Timers, sleeping and time limits on the real clock. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate } from "node:timers/promises";
import { sleep, systemClock, unlessAborted, within } from "../../src/platform/clock.ts";
import { FakeClock } from "./fake-clock.ts";

/** A signal that counts its listeners. */
function countedSignal(): { controller: AbortController; signal: AbortSignal; listeners: () => number } {
  const controller = new AbortController();
  const { signal } = controller;
  let count = 0;
  const counting = new Proxy(signal, {
    get(target, name) {
      if (name === "addEventListener") count += 1;
      if (name === "removeEventListener") count -= 1;
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
  return { controller, signal: counting, listeners: () => count };
}

describe("the machine's clock", () => {
  it("runs a task once, and not when it was cancelled", async () => {
    const ran: string[] = [];
    await new Promise<void>((resolve) => {
      const cancel = systemClock.after(0, () => ran.push("cancelled"));
      cancel();
      cancel();
      systemClock.after(1, resolve);
    });
    assert.deepEqual(ran, []);
  });

  it("does not run a task at once when its delay is years", async () => {
    let ran = false;
    const cancel = systemClock.after(2 ** 40, () => (ran = true));
    await new Promise<void>((resolve) => systemClock.after(5, resolve));
    cancel();
    assert.equal(ran, false);
  });

  it("gives the wall clock's time, and a time that never goes back", () => {
    assert(Math.abs(systemClock.now() - Date.now()) < 60_000);
    const before = systemClock.monotonic();
    assert(systemClock.monotonic() >= before);
  });
});

describe("sleeping", () => {
  it("ends after the delay, with nothing left on the signal", async () => {
    const clock = new FakeClock();
    const { signal, listeners } = countedSignal();
    const slept = sleep(clock, 1000, signal);
    assert.equal(listeners(), 1);
    await clock.advance(1000);
    await slept;
    assert.equal(listeners(), 0);
  });

  it("ends at once with the signal's reason, and without a timer", async () => {
    const clock = new FakeClock();
    const { controller, signal } = countedSignal();
    const slept = sleep(clock, 1000, signal);
    controller.abort(new Error("woken"));
    await assert.rejects(slept, /woken/);
    assert.equal(clock.pending, 0);
    await assert.rejects(sleep(clock, 1000, signal), /woken/);
    assert.equal(clock.pending, 0);
  });
});

describe("work within a time", () => {
  it("that is done in time gives its result, or its error, and leaves no timer", async () => {
    const clock = new FakeClock();
    assert.equal(await within(clock, 1000, Promise.resolve("done"), "late"), "done");
    await assert.rejects(within(clock, 1000, Promise.reject(new Error("failed")), "late"), /failed/);
    assert.equal(clock.pending, 0);
  });

  it("that is late gives the fallback, and its later error is ignored", async () => {
    const clock = new FakeClock();
    let fail: (error: Error) => void = () => undefined;
    const work = new Promise<string>((_resolve, reject) => (fail = reject));
    const result = within(clock, 1000, work, "late");
    await clock.advance(1000);
    assert.equal(await result, "late");
    fail(new Error("too late"));
    await setImmediate();
  });
});

describe("work unless aborted", () => {
  it("gives its result, or its error, and leaves nothing on the signal", async () => {
    const { signal, listeners } = countedSignal();
    assert.equal(await unlessAborted(Promise.resolve(1), signal), 1);
    await assert.rejects(unlessAborted(Promise.reject(new Error("failed")), signal), /failed/);
    assert.equal(listeners(), 0);
  });

  it("ends with the signal's reason, aborted before or during the wait", async () => {
    const { controller, signal, listeners } = countedSignal();
    const hung = unlessAborted(new Promise(() => undefined), signal);
    controller.abort(new Error("stopped"));
    await assert.rejects(hung, /stopped/);
    await assert.rejects(unlessAborted(new Promise(() => undefined), signal), /stopped/);
    assert.equal(listeners(), 0);
  });
});
