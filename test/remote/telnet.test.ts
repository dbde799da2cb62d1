/** Telnet between the agent and busybox's telnetd, which gives a shell its terminal. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { encodeTelnetText, encodeWindowSize, TelnetDecoder } from "../../src/remote/terminal-backends.ts";

const [IAC, SE, SB, WILL, DO, NAWS] = [255, 240, 250, 251, 253, 31] as const;

describe("telnet, as telnetd on a pipe speaks it", () => {
  const decode = (...chunks: readonly (readonly number[])[]): number[] => {
    const decoder = new TelnetDecoder();
    return chunks.flatMap((chunk) => [...decoder.decode(Uint8Array.from(chunk))]);
  };

  it("carries offers and answers, which are removed", () => {
    assert.deepEqual(decode([IAC, DO, 1, 65, IAC, WILL, 3, 66]), [65, 66]);
    assert.deepEqual(decode([65, IAC, SB, NAWS, 1, 2, IAC, IAC, 3, IAC, SE, 66, IAC, 241, 67]), [65, 66, 67]);
  });

  it("sends one byte 255 as two", () => assert.deepEqual(decode([65, IAC, IAC, 66]), [65, IAC, 66]));

  it("is read the same wherever chunks are cut", () => {
    const byte = fc.constantFrom(IAC, SE, SB, WILL, DO, NAWS, 65, 0, 13);
    fc.assert(
      fc.property(fc.array(byte), fc.array(fc.nat(20)), (bytes, cuts) => {
        const chunks: number[][] = [];
        let rest = bytes;
        for (const cut of cuts) {
          chunks.push(rest.slice(0, cut));
          rest = rest.slice(cut);
        }
        assert.deepEqual(decode(...chunks, rest), decode(bytes));
      }),
    );
  });

  it("keeps both keys of CR LF, which telnetd would read as one", () => {
    assert.equal(encodeTelnetText("ls\r"), "ls\r");
    assert.equal(encodeTelnetText("a\r\nb\r\0c"), "a\r\0\nb\r\0\0c");
  });

  it("sends the window's size without a byte that busybox would misread", () => {
    assert.deepEqual(
      [...encodeWindowSize({ rows: 24, columns: 300 })],
      [IAC, SB, NAWS, 1, 44, 0, 24, IAC, SE],
    );
    assert.deepEqual([...encodeWindowSize({ rows: 255, columns: 511 })].slice(3, 7), [1, 254, 0, 254]);
  });
});
