/** The words of the command line: help, mistakes, and exit codes. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { COMMANDS } from "../../src/cli/commands.ts";
import { VERSION } from "../../src/version.ts";
import { hublink } from "./program.ts";

describe("the command line", () => {
  it("prints its version", async () => {
    assert.deepEqual(await hublink(["--version"]), {
      code: 0,
      signal: null,
      stdout: `hublink ${VERSION}\n`,
      stderr: "",
    });
  });

  for (const args of [["--help"], ["-h"], ["help"], ["help", "me"], ["reboto", "--help"]]) {
    it(`prints its help for ${args.join(" ")}, in 80 columns`, async () => {
      const { code, stdout, stderr } = await hublink(args);
      assert.equal(code, 0);
      assert.equal(stderr, "");
      for (const word of ["run", "check", "status", "apply", "validate", "revert", "reboot", "upload"])
        assert.match(stdout, new RegExp(`^  ${word}\\b`, "m"));
      assert.ok(stdout.split("\n").every((line) => line.length <= 80));
    });
  }

  for (const [name, { options = {} }] of COMMANDS) {
    it(`prints the options and exit codes of ${name} for ${name} --help, in 80 columns`, async () => {
      const { code, stdout, stderr } = await hublink([name, "--help"]);
      assert.equal(code, 0);
      assert.equal(stderr, "");
      assert.match(stdout, new RegExp(`^Usage: hublink ${name} `));
      for (const option of [...Object.keys(options), "config", "verbose"])
        assert.match(stdout, new RegExp(`^  --${option}\\b`, "m"));
      for (const exit of [0, 64, 66, 77, 78, 1])
        assert.match(stdout, new RegExp(`^ *${exit}  [a-z]`, "m"), String(exit));
      assert.ok(stdout.split("\n").every((line) => line.length <= 80));
      assert.equal((await hublink(["help", name])).stdout, stdout);
    });
  }

  const mistakes: [args: string[], words: RegExp][] = [
    [[], /name a command/],
    [["reboto"], /there is no command reboto; did you mean reboot\?/],
    [["valid"], /there is no command valid; did you mean validate\?/],
    [["brew"], /there is no command brew \(/],
    [["status", "now"], /status takes nothing after it/],
    [["apply"], /apply takes SOURCE after it/],
    [["metadata", "a.fw", "b.fw"], /metadata takes FILE after it/],
    [["run", "--json"], /run has no --json/],
    [["identity", "--csr", "--json"], /leave out --generate and --csr/],
    [["run", "--csr"], /run has no --csr/],
    [["identity", "--connect"], /identity has no --connect/],
    [["run", "--colour"], /Unknown option '--colour' \(/],
    [["check", "--conect"], /Unknown option '--conect'; did you mean --connect\?/],
    [["run", "--conf", "a.toml"], /Unknown option '--conf'; did you mean --config\?/],
    [["run", "--config"], /--config.*missing/],
  ];
  for (const [args, words] of mistakes) {
    it(`refuses "hublink ${args.join(" ")}" in one line with 64`, async () => {
      const { code, stdout, stderr } = await hublink(args);
      assert.equal(code, 64);
      assert.equal(stdout, "");
      assert.match(stderr, words);
      assert.match(stderr, /^hublink: .*\(see hublink --help\)\n$/);
    });
  }

  it("reports a missing configuration, with 66", async () => {
    const { code, stderr } = await hublink(["check", "--config", "/missing/config.toml"]);
    assert.equal(code, 66);
    assert.equal(stderr, "hublink: configuration /missing/config.toml does not exist\n");
  });

  it("does not repeat the query of a signed URL", async () => {
    const { code, stderr } = await hublink([
      "metadata",
      "https://example.com/a.fw?token=secret",
      "--verbose",
    ]);
    assert.equal(code, 66);
    assert.match(stderr, /^hublink: firmware https:\/\/example\.com\/a\.fw\?… does not exist$/m);
    assert.doesNotMatch(stderr, /secret/);
  });

  it("shows an error's code and stack trace with --verbose only", async () => {
    const plain = await hublink(["run", "--config", "/missing"]);
    assert.equal(plain.stderr, "hublink: configuration /missing does not exist\n");
    const verbose = await hublink(["run", "--config", "/missing", "--verbose"]);
    assert.match(verbose.stderr, /^ {2}code no_input, see docs\/errors\.md$/m);
    assert.match(verbose.stderr, /\n {4}at /);
    assert.equal(verbose.code, plain.code);
  });
});
