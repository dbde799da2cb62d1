/** What a failure means for the next try, and how it is reported. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../src/platform/failure.ts";
import { endedBefore, endedBy } from "../../src/update/outcome.ts";

describe("an update that ends with an error", () => {
  it("failed by the firmware's fault when fwup refuses it, and the hub reads that the words are fwup's", () => {
    assert.deepEqual(endedBy(new Failure("fwup_refused", "wrong signature")), {
      result: "failed",
      reason: "fwup error: wrong signature",
      failure: "fwup_refused",
      blame: "firmware",
    });
  });

  for (const code of ["fwup_killed", "fwup_busy"] as const) {
    it(`failed by no fault of the firmware's with ${code}: memory that ran out says nothing about it`, () => {
      const outcome = endedBy(new Failure(code, "fwup was killed by SIGKILL"));
      assert.deepEqual(outcome, {
        result: "failed",
        reason: "fwup error: fwup was killed by SIGKILL",
        failure: code,
        blame: "circumstances",
      });
    });
  }

  it("is put off, not failed, when somebody else has switched slots", () => {
    for (const code of ["reboot_pending", "slot_contended"] as const) {
      const outcome = endedBefore(new Failure(code, "switched"));
      assert.equal(outcome.result, "rescheduled");
    }
  });

  it("is ignored when the firmware is not wanted", () => {
    for (const code of ["already_running", "downgrade_refused"] as const) {
      assert.deepEqual(endedBy(new Failure(code, "no")), { result: "ignored", reason: "no" });
    }
  });
});
