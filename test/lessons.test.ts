/** docs/lessons.md against the tests: each lesson has a test, whose title has the lesson's number. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";

const root = join(import.meta.dirname, "..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");

/** The numbers in a test's title, such as 19 and 23 of "asks 19, 23: …". */
function asked(file: string): Set<string> {
  return new Set(
    [...read(file).matchAll(/\basks ((?:\d+, )*\d+)/g)].flatMap(([, numbers = ""]) => numbers.split(", ")),
  );
}

describe("docs/lessons.md", () => {
  const rows = [...read("docs/lessons.md").matchAll(/^\| (\d+) .*\| (test\/\S+) +\|$/gm)];

  it("has a row for each lesson of other agents", () => {
    const wanted = [4, ...range(9, 26), 30, 31, 34, ...range(36, 40), 47, 50];
    assert.deepEqual(
      rows.map(([, number]) => Number(number)),
      wanted,
    );
  });

  for (const [, number = "", file = ""] of rows) {
    it(`asks ${number} is a test of ${file}`, () => assert.ok(asked(file).has(number)));
  }
});

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}
