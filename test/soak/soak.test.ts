/** The soak itself, for some seconds: each activity has its effect, and the memory is read. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { bundle } from "../../scripts/bundle.ts";
import { courseOf, type Sample } from "./memory.ts";
import { soak } from "./soak.ts";

describe("a soak", () => {
  let dir: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "hublink-soak-test-"));
  });
  after(async () => rm(dir, { recursive: true }));

  it("does everything once before it calls the agent warm, and reads its memory", async () => {
    const agent = join(dir, "hublink.cjs");
    await bundle(agent);
    const samples: Sample[] = [];
    const soaked = await soak({ agent, minutes: 0, seed: 1, onSample: (sample) => samples.push(sample) });
    assert.deepEqual(
      Object.entries(soaked.counts).filter(([, count]) => count < 1),
      [],
    );
    assert.ok(soaked.connections > 1);
    assert.ok(soaked.joinedMib > 10 && soaked.peakMib >= soaked.warmMib, JSON.stringify(soaked));
    for (const { rss, own, heapTotal, heapUsed, external, arrayBuffers } of samples)
      assert.ok(rss > own && own > heapTotal && heapTotal > heapUsed && external > arrayBuffers);
  });
});

describe("the course of the agent's memory", () => {
  const sample = (atS: number, rss: number): Sample => {
    return { atS, rss, own: 0, heapUsed: 0, heapTotal: 0, external: 0, arrayBuffers: 0 };
  };

  it("is its growth since the warm-up, and the slope of the second half", () => {
    const early = [sample(0, 60), sample(30, 80), sample(300, 110), sample(360, 90)];
    const late = [sample(600, 100), sample(900, 101), sample(1200, 102)];
    assert.deepEqual(courseOf([...early, ...late], 20), {
      joinedMib: 60,
      warmMib: 80,
      peakMib: 110,
      endMib: 102,
      growthMib: 22,
      slopeKibMin: 204.8, // 1 MiB in 5 minutes
    });
  });
});
