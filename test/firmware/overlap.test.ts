/** Downloading and writing overlap: while fwup writes one chunk, the next one is on its way. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { runFwup } from "../../src/firmware/fwup-process.ts";
import { Verifier, PART_BYTES } from "../../src/download/verify.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { announce, someBytes } from "../download/announce.ts";
import { say, scriptedFwup } from "./fwups.ts";

/** More than an unread pipe holds. */
const CHUNK_BYTES = 4 * 1024 * 1024;
const LINE_BYTES = 60_000;

describe("writing and downloading overlap", () => {
  it("fwup's input is read ahead before fwup has read the last chunk", async () => {
    const folder = await mkdtemp(join(tmpdir(), "overlap-"));
    const go = join(folder, "go");
    execFileSync("mkfifo", [go]);
    const ok = say(["OK", 0, ""]);
    const fwup = await scriptedFwup(folder, `cat ${go} > /dev/null`, "cat > /dev/null", ok);
    await runFwup({ fwup, args: [], clock: new FakeClock(), stallMs: 1000 }, async function* () {
      yield someBytes(CHUNK_BYTES);
      await writeFile(go, ""); // fwup has read nothing until now
      yield someBytes(1);
    });
    await rm(folder, { recursive: true });
  });

  for (const [what, parts] of [
    ["with parts", true],
    ["without parts", false],
  ] as const) {
    it(`a chunk of the verifier is unchanged until the next but one is read: ${what}`, () => {
      const file = someBytes(4 * PART_BYTES + 10_000);
      const announced = announce(file);
      const verifier = new Verifier(parts ? announced : { ...announced, parts: null });
      let before: Uint8Array = Buffer.alloc(0);
      let at = 0;
      const take = (chunk: Uint8Array): void => {
        assert.ok(file.subarray(at - before.length, at).equals(before), `the chunk up to ${at} has changed`);
        assert.ok(file.subarray(at, at + chunk.length).equals(chunk));
        at += chunk.length;
        before = chunk;
      };
      for (let line = 0; line < file.length; line += LINE_BYTES) {
        for (const chunk of verifier.push(file.subarray(line, line + LINE_BYTES))) take(chunk);
      }
      for (const chunk of verifier.end()) take(chunk);
      assert.equal(at, file.length);
    });
  }
});
