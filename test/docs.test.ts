/** The documents against the code: names, links, tables and commands that they mention must exist. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, it } from "node:test";
import { parse } from "smol-toml";
import { nameOf } from "../scripts/package/bases.ts";
import { baseOf, TARGETS } from "../scripts/package/manifest.ts";
import { billOfMaterials } from "../scripts/package/sbom.ts";
import { parseCommandLine } from "../src/cli/command-line.ts";
import { COMMANDS } from "../src/cli/commands.ts";
import { checkConfig } from "../src/config/check.ts";
import { systemWorld } from "../src/platform/world.ts";
import type { UpdateQuestion } from "../src/update/application.ts";
import { askPolicyCommand } from "../src/update/approval.ts";
import type { Decision } from "../src/update/decide.ts";
import { TRANSITIONS } from "../src/update/states.ts";
import { missing } from "./identity/openssl.ts";

const root = join(import.meta.dirname, "..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");
const manifest = JSON.parse(read("package.json")) as Record<
  "scripts" | "dependencies" | "devDependencies",
  Record<string, string>
>;

/** Paths that a build makes. */
const MADE = ["buildroot/keys"];

/** The cells of every row of every table in a page. */
function table(text: string): string[][] {
  const rows = text.split("\n").filter((line) => line.startsWith("|"));
  return rows.map((row) =>
    row
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

/** The anchors that GitHub gives to the headings of a page. */
function anchors(text: string): string[] {
  const headings = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) => heading);
  return headings.map((heading) =>
    heading
      .toLowerCase()
      .replace(/[^a-z0-9 _-]/g, "")
      .replaceAll(" ", "-"),
  );
}

/** Blocks of TOML, and indented blocks that begin with a table's name. */
function tomlBlocks(text: string): string[] {
  const fenced = [...text.matchAll(/^```toml\n([^]*?)^```/gm)].map(([, block = ""]) => block);
  const indented = (text.match(/(?:^ {4}.*\n)+/gm) ?? []).map((block) => block.replace(/^ {4}/gm, ""));
  return [...fenced, ...indented.filter((block) => block.startsWith("["))];
}

/** Paths of the repository's files that match. */
function listed(pattern: string): string[] {
  return execFileSync("git", ["ls-files", pattern], { cwd: root, encoding: "utf8" }).trim().split("\n");
}

function tableOf(value: unknown): object {
  return typeof value === "object" && value !== null ? value : {};
}

describe("the documentation", () => {
  const pages = listed("*.md");

  for (const page of pages) {
    it(`${page}: every link to a file or a heading leads to one`, () => {
      for (const [, target = "", heading] of read(page).matchAll(/\]\(([^)#]*)(?:#([^)]*))?\)/g)) {
        if (target.includes("://")) continue;
        const path = target === "" ? page : join(dirname(page), target);
        assert.ok(existsSync(join(root, path)), target);
        if (heading !== undefined) assert.ok(anchors(read(path)).includes(heading), `${target}#${heading}`);
      }
    });
  }

  /** An entry of the changelog may name a file that is gone. */
  const current = pages.filter((path) => path !== "CHANGELOG.md");

  for (const page of current) {
    it(`${page}: every path in this repository that it names exists`, () => {
      const paths = read(page).match(/(?<![\w/.-])(?:src|test|scripts|buildroot|docs)\/[\w./-]*\w/g) ?? [];
      for (const path of paths) {
        const isPlaceholder = path.includes("NAME");
        assert.ok(isPlaceholder || MADE.includes(path) || existsSync(join(root, path)), path);
      }
    });
  }

  for (const page of [...current, ...listed(".github/ISSUE_TEMPLATE/*.yml")]) {
    it(`${page}: every hublink command that it names exists`, () => {
      for (const [, words = ""] of read(page).matchAll(/`hublink ([a-z-][^`\n]*)`/g))
        assert.doesNotThrow(() => parseCommandLine(words.split(" ")), `hublink ${words}`);
    });
  }

  it("README.md: its configuration is a valid one", () => {
    const [, toml = ""] = /```toml\n([^]*?)```/.exec(read("README.md")) ?? [];
    assert.equal(checkConfig(parse(toml), {}, "README").config.hub.url, "wss://devices.example.com");
  });

  for (const page of pages.filter((path) => path.startsWith("docs/"))) {
    it(`${page}: its pieces of configuration are valid ones`, () => {
      for (const piece of tomlBlocks(read(page))) {
        const { hub, identity, ...rest } = parse(piece);
        const files = { source: "file", file: { cert_file: "/c", key_file: "/k" } };
        const tables = {
          hub: { url: "wss://hub.test", ...tableOf(hub) },
          identity: { ...files, ...tableOf(identity) },
        };
        assert.doesNotThrow(() => checkConfig({ ...tables, ...rest }, {}, page), piece);
      }
    });
  }

  it("docs/updates.md: its policy command decides as described there", async () => {
    const text = read("docs/updates.md");
    const [, json = ""] = /```json\n([^]*?)```/.exec(text) ?? [];
    const [, script = ""] = /```sh\n([^]*?)```/.exec(text) ?? [];
    const question = JSON.parse(json) as UpdateQuestion;
    const dir = await mkdtemp(join(tmpdir(), "hublink-docs-"));
    const lock = join(dir, "pump.lock");
    await writeFile(join(dir, "policy"), script.replace("/run/pump.lock", lock), { mode: 0o755 });
    const { signal } = new AbortController();
    const ask = async (size: number): Promise<Decision> =>
      askPolicyCommand(join(dir, "policy"), { ...question, size }, systemWorld, signal);
    assert.deepEqual(await ask(question.size ?? 0), { action: "apply" });
    assert.deepEqual(await ask(64 * 2 ** 20 + 1), { action: "ignore", reason: "too large for the modem" });
    await writeFile(lock, "");
    const later = { action: "reschedule", delayMs: 30 * 60_000, reason: "the pump is running" };
    assert.deepEqual(await ask(1), later);
    await rm(dir, { recursive: true });
  });

  it("README.md: its commands are those of the program", () => {
    const rows = table(read("README.md")).map(([command = ""]) => /^`hublink (.+)`$/.exec(command)?.[1]);
    const commands = rows.filter((row) => row !== undefined);
    assert.ok(commands.length >= 9);
    for (const row of commands) assert.doesNotThrow(() => parseCommandLine(row.split(" ")), row);
  });

  it("README.md: its scripts exist", () => {
    const text = read("README.md");
    for (const [, script = ""] of text.matchAll(/^ {4}(scripts\/\S+)/gm))
      assert.ok(existsSync(join(root, script)));
    for (const [, name = ""] of text.matchAll(/npm run (\w+)/g)) assert.ok(manifest.scripts[name], name);
  });

  it("docs/hublink.1: groff shows it without a warning", { skip: missing("groff") }, () => {
    const page = join(root, "docs/hublink.1");
    const { status, stdout, stderr } = spawnSync("groff", ["-ww", "-man", "-Tascii", "-P-cbou", page], {
      encoding: "utf8",
    });
    assert.equal(stderr, "");
    assert.equal(status, 0);
    for (const name of COMMANDS.keys()) assert.match(stdout, new RegExp(`hublink ${name}`));
  });

  it("docs/architecture.md: its table is the update machine's", () => {
    const rows = table(read("docs/architecture.md")).filter(([state = ""]) => state in TRANSITIONS);
    const expected = Object.entries(TRANSITIONS).flatMap(([state, events]) =>
      Object.entries(events).map(([event, to]) => [state, event, to]),
    );
    assert.deepEqual(rows, expected);
  });

  it("docs/dependencies.md: names every package, and no other", () => {
    const [, agent = "", development = ""] = read("docs/dependencies.md").split(/^## .*$/m);
    const named = (text: string): string[] =>
      table(text)
        .slice(2) // the heading and its rule
        .flatMap(([names = ""]) => names.split(", "))
        .sort();
    const types = (names: string[]): string[] =>
      [...new Set(names.map((name) => (name.startsWith("@types/") ? "@types/*" : name)))].sort();
    assert.deepEqual(named(agent), Object.keys(manifest.dependencies).sort());
    assert.deepEqual(named(development), types(Object.keys(manifest.devDependencies)));
  });

  it("docs/dependencies.md: gives the reason for each package that .github/dependabot.yml holds back", () => {
    const config = read(".github/dependabot.yml");
    const held = [...config.matchAll(/dependency-name: "?([^"\n]+)/g)].map(([, name]) => name);
    const [, , , updates = ""] = read("docs/dependencies.md").split(/^## .*$/m);
    const explained = table(updates).slice(2); // the heading and its rule
    assert.ok(held.length > 0);
    assert.deepEqual(
      explained.map(([name]) => name),
      held,
    );
  });

  it("docs/releases.md: names each file that npm run package writes", () => {
    const named = table(read("docs/releases.md")).map(([file = ""]) => file.replaceAll("`", ""));
    const binaries = named.filter((name) => /^hublink-linux-\w+$/.test(name));
    assert.deepEqual(
      binaries,
      TARGETS.map((target) => `hublink-linux-${target}`),
    );
    for (const name of ["SHA256SUMS", "hublink-linux-TARGET.cdx.json", nameOf(baseOf("armv6"))])
      assert.ok(named.includes(name), name);
  });

  it("docs/releases.md: names the licences of all packages in the bundle", async () => {
    const bill = JSON.parse(await billOfMaterials("armv6", baseOf("armv6"), "")) as {
      components: { type: string; licenses: { license: { id: string } }[] }[];
    };
    const packages = bill.components.filter(({ type }) => type === "library");
    const licences = packages.flatMap(({ licenses }) => licenses.map(({ license }) => license.id));
    const [, named = ""] = /packages in the bundle are under ([^.]*)\./.exec(read("docs/releases.md")) ?? [];
    assert.deepEqual(named.split(/,\s+|\s+and\s+/).sort(), [...new Set(licences)].sort());
  });
});
