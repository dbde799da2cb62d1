/**
 * Whoever writes a text must not decide how long the agent reads it. A product's name of 100 000 blanks once stopped
 * the agent for minutes, in the line that makes one line of an error's message. Each function that reads text of
 * others gets texts here on which a quadratic one would work for hours.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import vm from "node:vm";
import { connectFailure } from "../src/hub/connect-error.ts";
import { parseHubMessage } from "../src/hub/device-messages.ts";
import { parseMetadata } from "../src/firmware/metadata.ts";
import { isDowngrade } from "../src/firmware/version.ts";
import { pemBlocks } from "../src/identity/certificate.ts";
import { tokenProblem } from "../src/identity/token-problem.ts";
import { messageOf } from "../src/platform/failure.ts";
import { createLog, redact } from "../src/platform/log.ts";
import { isHttpUrl, oneLine, parseJson, printable, printableJson } from "../src/platform/text.ts";
import { PATIENCE_MS } from "./eventually.ts";

const LENGTH = 1_000_000;

/** What is repeated: pieces in which the patterns of src begin, and which never end as they would have to. */
const PIECES = [
  " ",
  "\n",
  "\t \n",
  "a",
  "0",
  "+",
  ".",
  "://",
  "://@",
  '"',
  "?",
  "pin-value=",
  "-----BEGIN A-----",
  "-----BEGIN ",
  'meta-a="',
  'meta-uuid="\\',
  "tpm2",
  "alert ",
];

const log = createLog({ level: "info", format: "logfmt", now: () => 0, write: () => undefined });

const READERS: Readonly<Record<string, (text: string) => unknown>> = {
  "an error's message": (text) => messageOf(new Error(text)),
  "the lines of a text": oneLine,
  "a line of the log": (text) => log.error(text, { text }),
  redaction: redact,
  "the printable text": printable,
  "the printable JSON": printableJson,
  "a URL": isHttpUrl,
  JSON: parseJson,
  "the hub's update": (text) =>
    parseHubMessage("update", { firmware_url: text, firmware_meta: { uuid: text, product: text } }),
  "the hub's keys": (text) => parseHubMessage("fwup_public_keys", { keys: [text] }),
  "a firmware's version": (text) => isDowngrade(text, text),
  "a firmware's metadata": (text) => attempt(() => parseMetadata(`meta-product="${text}`)),
  "a file of certificates": (text) => pemBlocks(Buffer.from(text)),
  "the words of a token": (text) => tokenProblem({ kind: "tpm2", pem: "", tcti: "", origin: "key" }, text),
  "the error of a connection": (text) => connectFailure(new Error(text), { clientCertificate: true }),
};

function attempt(work: () => unknown): void {
  try {
    work();
  } catch {
    // refused, which is an answer as well
  }
}

describe("a hostile text is read in a time that grows with its length and no faster", () => {
  for (const [name, read] of Object.entries(READERS)) {
    it(name, () => {
      const texts = PIECES.flatMap((piece) =>
        ["x", "\nx"].map((end) => `x${piece.repeat(LENGTH / piece.length)}${end}`),
      );
      for (const text of texts) {
        // Unlike a limit of the test runner's, this one ends even a regular expression.
        const run = (): unknown => vm.runInNewContext("read(text)", { read, text }, { timeout: PATIENCE_MS });
        assert.doesNotThrow(run, JSON.stringify(text.slice(0, 20)));
      }
    });
  }
});
