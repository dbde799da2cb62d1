/** Which versions count as a downgrade. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isDowngrade } from "../../src/firmware/version.ts";

describe("a downgrade", () => {
  // semver.org §11.4's own example, from the lowest to the highest
  const ordered = [
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.1",
    "1.2.0",
    "1.10.0",
    "2.0.0",
  ];

  it("is a version before the running one in the order of semantic versioning", () => {
    for (const [i, running] of ordered.entries()) {
      for (const [j, candidate] of ordered.entries()) {
        assert.equal(isDowngrade(running, candidate), j < i, `${running} → ${candidate}`);
      }
    }
  });

  it("does not depend on a leading v or on build metadata", () => {
    assert.equal(isDowngrade("v1.1.0", "1.0.0"), true);
    assert.equal(isDowngrade("1.0.0+b2", "1.0.0+b1"), false);
    assert.equal(isDowngrade("1.1.0+of_today", "1.0.0+of_yesterday"), true);
  });

  it("is found between versions that are dates too", () => {
    assert.equal(isDowngrade("2026.01.05", "2025.12.31"), true);
    assert.equal(isDowngrade("2026.01.05", "2026.01.10"), false);
    assert.equal(isDowngrade("2026.10.05", "2026.09.30"), true);
    assert.equal(isDowngrade("v2026.01.05", "2026.1.5"), false);
  });

  it("is never found between texts that are not semantic versions", () => {
    for (const text of ["", "2026-01", "1.0", "1.2", "v1", "latest", "1.0.0.0", "1.0.0rc1"]) {
      assert.equal(isDowngrade("1.0.0", text), false, text);
      assert.equal(isDowngrade(text, "1.0.0"), false, text);
    }
  });
});
