/** The pages that scripts/docs.ts writes from the schema are up to date and complete. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { describe, it } from "node:test";
import { parse } from "smol-toml";
import { checkConfig, defaultConfig } from "../../src/config/check.ts";
import { schema } from "../../src/config/schema.ts";
import {
  isSection,
  isTable,
  isTableList,
  type Section,
  type Table,
  type TableList,
} from "../../src/config/setting.ts";
import { defaultTable } from "./default-table.ts";

const ROOT = resolve(import.meta.dirname, "../..");

/** Keys whose value is a table with keys of the user. */
const TABLES = ["fwup_env", "services"];

/** The keys that the example sets, because no default could work. */
function exampleConfig(): unknown {
  const { hub, identity, ...rest } = defaultConfig();
  const file = {
    ...identity.file,
    certFile: "/etc/hublink/device-cert.pem",
    keyFile: "/etc/hublink/device-key.pem",
  };
  return { ...rest, hub: { ...hub, url: "wss://devices.example.com" }, identity: { ...identity, file } };
}

/** The dotted paths of all settings in a table. */
function keysOf(table: Table, path = ""): readonly string[] {
  return Object.entries(table)
    .flatMap(([key, value]) =>
      isTable(value) && !TABLES.includes(key) ? keysOf(value, `${path}${key}.`) : [`${path}${key}`],
    )
    .sort();
}

describe("the documents that are generated from the schema", () => {
  it("are up to date (npm run docs)", () => {
    execFileSync(process.execPath, ["--import", "tsx", "scripts/docs.ts", "--check"], { cwd: ROOT });
  });

  it("have an example that is a valid configuration", async () => {
    const text = await readFile(resolve(ROOT, "config.example.toml"), "utf8");
    const { config, warnings } = checkConfig(parse(text), {}, "example");
    assert.deepEqual(config, exampleConfig());
    assert.deepEqual(warnings, []);
  });

  it("have an example whose commented-out keys show their defaults", async () => {
    const text = await readFile(resolve(ROOT, "config.example.toml"), "utf8");
    const table = parse(text.replace(/^#(?=\w+ = )/gm, ""));
    const { config } = checkConfig(table, {}, "example");
    assert.deepEqual(config, exampleConfig());
    // All keys are there; otherwise this would compare a default with itself.
    assert.deepEqual(keysOf(table), keysOf(defaultTable()));
  });

  it("have a reference with every key of every section", async () => {
    const text = await readFile(resolve(ROOT, "docs/configuration.md"), "utf8");
    const visit = (values: object, path: string): void => {
      if (path !== "") assert.match(text, new RegExp(`^#+ \\[${path.replace(".", "\\.")}\\]$`, "m"));
      for (const [key, value] of Object.entries(values)) {
        if (typeof value === "object" && value !== null && !Array.isArray(value) && !TABLES.includes(key)) {
          visit(value as object, path === "" ? key : `${path}.${key}`);
        } else {
          assert.match(text, new RegExp(`^\\| \`${key}\` \\| .+ \\| \`.*\` \\| .+ \\|$`, "m"));
        }
      }
    };
    visit(defaultTable(), "");
  });

  it("have every key of every list of tables, in the reference and as a comment in the example", async () => {
    const reference = await readFile(resolve(ROOT, "docs/configuration.md"), "utf8");
    const example = await readFile(resolve(ROOT, "config.example.toml"), "utf8");
    const visitList = ({ item }: TableList, path: string): void => {
      const title = path.replaceAll(".", "\\.");
      assert.match(reference, new RegExp(`^#+ \\[\\[${title}\\]\\]$`, "m"));
      assert.match(example, new RegExp(`^# \\[\\[${title}\\]\\]$`, "m"));
      visit(item, path, true);
    };
    const visit = (section: Section, path: string, inList: boolean): void => {
      for (const [key, entry] of Object.entries(section.entries)) {
        const inner = path === "" ? key : `${path}.${key}`;
        if (isTableList(entry)) visitList(entry, inner);
        else if (isSection(entry)) visit(entry, inner, inList);
        else if (inList) {
          assert.match(reference, new RegExp(`^\\| \`${key}\` \\| .+ \\|$`, "m"));
          assert.match(example, new RegExp(`^# ${key} = `, "m"));
        }
      }
    };
    visit(schema, "", false);
    const tables = example.replace(/^# (?=\[\[component[.a-z]*\]\]$|\w+ = )/gm, "");
    const { component } = parse(tables);
    assert.deepEqual(checkConfig({ ...parse(example), component }, {}, "example").config.component.length, 1);
  });
});
