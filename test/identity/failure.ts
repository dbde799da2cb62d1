/** The Failure that a test expects, for assert.throws. */
import assert from "node:assert/strict";
import { Failure } from "../../src/platform/failure.ts";
import type { FailureKind } from "../../src/platform/failures.ts";

/** For assert.rejects and assert.throws: a Failure of this kind whose message says this. */
export function failure(kind: FailureKind, ...words: readonly (string | RegExp)[]) {
  return (error: unknown): true => {
    assert.ok(error instanceof Failure, String(error));
    assert.equal(error.kind, kind, error.message);
    for (const word of words) {
      if (typeof word === "string") assert.ok(error.message.includes(word), error.message);
      else assert.match(error.message, word);
    }
    assert.ok(!error.message.includes("\n"), error.message);
    return true;
  };
}
