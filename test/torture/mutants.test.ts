/** The broken agents can still be made: `npm run torture -- --self-test`, which plays rounds with them, takes long. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { drawPlan } from "./plan.ts";
import { MUTANTS } from "./mutants.ts";

describe("a broken agent", () => {
  for (const { name, file, text, kind, fault } of MUTANTS) {
    it(`${name}: the text that it lacks is in the agent once, and its fault is drawn`, () => {
      const source = readFileSync(join(import.meta.dirname, "../../src", file), "utf8");
      assert.equal(source.split(text).length, 2);
      if (fault === undefined) return;
      const drawn = Array.from({ length: 200 }, (_, seed) => drawPlan(seed, kind).plan.faults).flat();
      assert.ok(drawn.includes(fault), fault);
    });
  }
});
