/** Progress, sizes and times as people see them. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { formatBytes, formatSpan, renderProgress, ProgressBar } from "../../src/cli/progress-bar.ts";
import { renderRows } from "../../src/cli/terminal.ts";
import { createScreen, type Screen } from "./screen.ts";
import { FakeClock } from "../platform/fake-clock.ts";

const MIB = 1024 * 1024;

describe("a progress bar", () => {
  const drawnOn = (stdout: Screen): { readonly bar: ProgressBar; readonly clock: FakeClock } => {
    const clock = new FakeClock();
    return { bar: new ProgressBar({ stdin: process.stdin, stdout, stderr: stdout }, clock), clock };
  };

  it("shows percent, rate and time left in one line of a terminal", async () => {
    const screen = createScreen(80);
    const { bar, clock } = drawnOn(screen);
    bar.show({ stage: "updating", percent: 0, bytes: 0 });
    assert.equal(screen.drawn(), "\r\x1b[Kupdating    [............................]   0 %");
    await clock.advance(4000);
    bar.show({ stage: "updating", percent: 25, bytes: 8 * MIB });
    assert.equal(
      screen.drawn(),
      "\r\x1b[Kupdating    [#######.....................]  25 %     2.0 MiB/s  12 s left",
    );
    await clock.advance(12_000);
    bar.show({ stage: "updating", percent: 100, bytes: 32 * MIB });
    assert.equal(screen.drawn(), "\r\x1b[Kupdating    [############################] 100 %     2.0 MiB/s");
    bar.end(true);
    assert.equal(screen.drawn(), "\r\x1b[K32.0 MiB in 16 s\n");
  });

  it("stays on the screen when the work fails", () => {
    const screen = createScreen(80);
    const { bar } = drawnOn(screen);
    bar.show({ stage: "updating", percent: 5, bytes: 1 });
    screen.drawn();
    bar.end(false);
    assert.equal(screen.drawn(), "\n");
  });

  it("is not drawn on a pipe", () => {
    const screen = createScreen();
    const { bar } = drawnOn(screen);
    bar.show({ stage: "updating", percent: 5, bytes: 1 });
    bar.end(true);
    assert.equal(screen.drawn(), "");
  });

  it("is never wider than the terminal", () => {
    for (const columns of [60, 80, 200]) {
      for (const elapsedMs of [0, 999, 60_000, 86_400_000 * 3]) {
        for (const percent of [0, 1, 50, 100]) {
          const progress = { stage: "downloading", percent, bytes: 1000 * MIB };
          const line = renderProgress(progress, elapsedMs, columns);
          assert.ok(line.length < columns, `${line.length} of ${columns}: ${line}`);
        }
      }
    }
  });
});

describe("the text for people", () => {
  it("has bytes and spans in their units", () => {
    assert.deepEqual([0, 1023, 1024, 1.5 * MIB].map(formatBytes), ["0 B", "1023 B", "1 KiB", "1.5 MiB"]);
    assert.deepEqual([0, 59_400, 60_000, 3_599_000, 3_600_000, 90_061_000].map(formatSpan), [
      "0 s",
      "59 s",
      "1 m 00 s",
      "59 m 59 s",
      "1 h 00 m",
      "1 d 01 h",
    ]);
  });

  it("has rows that continue on the next line of a terminal, and are whole on a pipe", () => {
    const rows = [
      ["name", "a b"],
      ["text", "word ".repeat(30).trim()],
    ] as const;
    const lines = renderRows(rows, 40).split("\n");
    assert.equal(lines[0], "name  a b");
    assert.ok(lines.length > 4 && lines.every((line) => line.length <= 40));
    assert.ok(lines.slice(2, -1).every((line) => line.startsWith("      word")));
    assert.equal(renderRows(rows, Infinity).split("\n").length, 3);
  });
});
