/** Which errors count as defects, and that the walls note them. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { Attachment } from "../../src/extensions/attachment.ts";
import { noteDefect, onDefect } from "../../src/platform/defects.ts";
import { Failure } from "../../src/platform/failure.ts";
import { silentLog } from "../../src/platform/log.ts";
import { FakeClock } from "./fake-clock.ts";

describe("a defect", () => {
  let seen: string[];
  let end: () => void;
  beforeEach(() => {
    seen = [];
    end = onDefect((error, scope) => seen.push(`${scope}: ${String(error)}`));
  });
  afterEach(() => end());

  it("is a mistake in the code, and nothing that networks, disks or aborted work report", () => {
    const coded = (code: string): Error => Object.assign(new Error(code), { code });
    noteDefect(new TypeError("a mistake"), "geo");
    noteDefect(coded("ERR_INVALID_ARG_TYPE"), "geo");
    noteDefect("thrown text", "geo");
    noteDefect(new Failure("failed", "expected"), "geo");
    for (const code of ["ENOSPC", "ECONNRESET", "UND_ERR_SOCKET", "CERT_HAS_EXPIRED"])
      noteDefect(coded(code), "geo");
    noteDefect(AbortSignal.abort().reason, "geo");
    noteDefect(new DOMException("too late", "TimeoutError"), "geo");
    assert.deepEqual(seen, [
      "geo: TypeError: a mistake",
      "geo: Error: ERR_INVALID_ARG_TYPE",
      "geo: thrown text",
    ]);
    end();
    noteDefect(new TypeError("nobody listens"), "geo");
    assert.equal(seen.length, 3);
  });

  it("of an extension is noted by its wall", async () => {
    const clock = new FakeClock();
    for (const error of [new TypeError("a mistake"), new Failure("failed", "expected")]) {
      const attachment = new Attachment({
        extension: {
          ...{ name: "pump", versions: ["0.0.1"] },
          start() {
            throw error;
          },
        },
        ...{ version: "0.0.1", clock, log: silentLog },
        push: () => true,
        onStarted: () => undefined,
        onFailed: () => undefined,
      });
      await clock.advance(0);
      await attachment.end();
    }
    assert.deepEqual(seen, ["pump: TypeError: a mistake"]);
  });
});
