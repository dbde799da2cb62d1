/** Windows for updates in local time, with changes of the clock. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { untilWindowMs } from "../../src/update/windows.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

describe("update windows", () => {
  /** A zone whose clocks change: forward on 2026-03-29 at 02:00, back on 2026-10-25 at 03:00. */
  const ZONE = "Europe/Berlin";
  let zoneBefore: string | undefined;
  before(() => {
    zoneBefore = process.env["TZ"];
    process.env["TZ"] = ZONE;
  });
  after(() => {
    if (zoneBefore === undefined) delete process.env["TZ"];
    else process.env["TZ"] = zoneBefore;
  });
  const at = (time: string): number => new Date(time).getTime();
  const wait = (windows: readonly string[], time: string): number => untilWindowMs(windows, at(time), 0);

  it("that are not configured never delay an update", () => {
    assert.equal(wait([], "2026-06-01T12:00"), 0);
  });

  const table: [now: string, windows: string[], expected: number][] = [
    ["2026-06-01T01:59", ["02:00-05:00"], MINUTE],
    ["2026-06-01T02:00", ["02:00-05:00"], 0],
    ["2026-06-01T04:59:59", ["02:00-05:00"], 0],
    ["2026-06-01T05:00", ["02:00-05:00"], 21 * HOUR],
    ["2026-06-01T21:00", ["22:00-04:00"], HOUR],
    ["2026-06-01T23:59", ["22:00-04:00"], 0],
    ["2026-06-01T00:00", ["22:00-04:00"], 0],
    ["2026-06-01T04:00", ["22:00-04:00"], 18 * HOUR],
    ["2026-06-01T12:00", ["02:00-05:00", "13:00-14:00"], HOUR],
    ["2026-06-01T13:30", ["02:00-05:00", "13:00-14:00"], 0],
    ["2026-12-31T23:00", ["00:30-01:00"], 90 * MINUTE],
    ["1970-01-01T12:00", ["02:00-05:00"], 14 * HOUR],
  ];
  for (const [now, windows, expected] of table) {
    it(`${windows.join(", ")} at ${now}: ${expected / HOUR} h to wait`, () => {
      assert.equal(wait(windows, now), expected);
    });
  }

  it("open at their local time on the day of a clock change", () => {
    assert.equal(wait(["05:00-06:00"], "2026-03-28T05:00:00+01:00"), 0);
    assert.equal(wait(["05:00-06:00"], "2026-03-28T12:00:00+01:00"), 16 * HOUR); // a night of one hour less
    assert.equal(wait(["05:00-06:00"], "2026-10-24T12:00:00+02:00"), 18 * HOUR); // and of one hour more
  });

  it("that a clock change skips open the day after", () => {
    const skipped = ["02:00-03:00"];
    const first = wait(skipped, "2026-03-29T01:30:00+01:00");
    assert.ok(first > 0);
    const then = at("2026-03-29T01:30:00+01:00") + first;
    assert.equal(then + untilWindowMs(skipped, then, 0), at("2026-03-30T02:00:00+02:00"));
  });

  it("that come twice when clocks go back are open both times", () => {
    assert.equal(wait(["02:00-03:00"], "2026-10-25T02:30:00+02:00"), 0);
    assert.equal(wait(["02:00-03:00"], "2026-10-25T02:30:00+01:00"), 0);
  });

  it("spread a fleet's updates over a tenth of the window, at most 10 minutes", () => {
    const last = (window: string): number => untilWindowMs([window], at("2026-06-01T12:00"), 0.999_999);
    assert.equal(last("13:00-13:10"), HOUR + MINUTE - 1);
    assert.equal(last("13:00-20:00"), HOUR + 10 * MINUTE - 1);
  });

  it("an update that was put off comes back inside a window", () => {
    for (const window of ["02:00-05:00", "22:00-04:00", "23:59-00:00", "00:00-00:01", "12:00-11:59"]) {
      for (let hour = 0; hour < 24 * 7; hour += 1) {
        const now = at("2026-03-26T00:17:31.5") + hour * HOUR;
        for (const random of [0, 0.5, 0.999]) {
          const then = now + untilWindowMs([window], now, random);
          assert.equal(untilWindowMs([window], then, random), 0, `${window} at ${new Date(now).toString()}`);
        }
      }
    }
  });
});
