/** The line editing that replaces a terminal on boards that have none. */
import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { LineDiscipline, withCarriageReturns } from "../../src/remote/line-discipline.ts";

describe("typing to a shell that has no terminal", () => {
  let lines: LineDiscipline;
  let shown: string;
  let happened: string[];
  beforeEach(() => {
    shown = "";
    happened = [];
    lines = new LineDiscipline({
      echo: (text) => (shown += text),
      send: (line) => happened.push(line),
      interrupt: () => happened.push("interrupt"),
      endOfInput: () => happened.push("end"),
    });
  });

  it("shows what is typed, and sends a line when it is complete", () => {
    lines.type("ls");
    assert.deepEqual(happened, []);
    lines.type(" -l\r");
    assert.deepEqual(happened, ["ls -l\n"]);
    assert.equal(shown, "ls -l\r\n");
  });

  it("accepts pasted lines, with any line ending", () => {
    lines.type("a\r\nb\rc\nd");
    assert.deepEqual(happened, ["a\n", "b\n", "c\n"]);
  });

  it("erases whole characters and lines", () => {
    lines.type("xé😀\u007f\b\u007f\u007fy\r");
    assert.deepEqual(happened, ["y\n"]);
    assert.equal(shown, `xé😀${"\b \b".repeat(3)}y\r\n`);
    lines.type("abc\u0015d\r");
    assert.equal(happened.at(-1), "d\n");
  });

  it("interrupts with Ctrl-C, and forgets the line", () => {
    lines.type("rm\u0003ls\r");
    assert.deepEqual(happened, ["interrupt", "ls\n"]);
  });

  it("ends the input with Ctrl-D, but only at the beginning of a line", () => {
    lines.type("a\u0004\r\u0004");
    assert.deepEqual(happened, ["a\n", "end"]);
  });

  it("ignores cursor keys and other controls", () => {
    lines.type("a\u001b[Ab\u001bOP\u001b[1;5Cc\u0007\r");
    assert.deepEqual(happened, ["abc\n"]);
  });

  it("drops the rest of a line that is too long", () => {
    lines.type("x".repeat(100_000));
    lines.type("\r");
    assert.equal(happened[0]?.length, 4097);
  });

  it("puts a CR before each LF of the output, and changes no other byte", () => {
    const output = Buffer.concat([Buffer.from("a\nb\r\n"), Buffer.from([0xff, 0x0a])]);
    assert.deepEqual(
      withCarriageReturns(output),
      Buffer.concat([Buffer.from("a\r\nb\r\n"), Buffer.from([0xff, 0x0d, 0x0a])]),
    );
  });
});
