/** The layout of src against docs/architecture.md: each folder is listed, and imports form no circles. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, it } from "node:test";
import ts from "typescript";

const root = join(import.meta.dirname, "..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");
const architecture = read("docs/architecture.md");

/** The folders of src, by name. */
function folders(): string[] {
  const entries = readdirSync(join(root, "src"), { withFileTypes: true });
  return entries.flatMap((entry) => (entry.isDirectory() ? [entry.name] : [])).sort();
}

/** Every module of src with those it imports, for types too. */
function importsOfModules(): Map<string, readonly string[]> {
  const files = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".ts"))
    .map((path) => join("src", path));
  return new Map(
    files.map((file) => {
      const { importedFiles } = ts.preProcessFile(read(file));
      const own = importedFiles.map(({ fileName }) => fileName).filter((name) => name.startsWith("."));
      return [file, own.map((name) => relative(root, join(root, dirname(file), name)))];
    }),
  );
}

/** One circle of imports, from a module back to itself; undefined when there is none. */
function circleIn(imports: ReadonlyMap<string, readonly string[]>): readonly string[] | undefined {
  const done = new Set<string>();
  const walk = (file: string, way: readonly string[]): readonly string[] | undefined => {
    if (way.includes(file)) return [...way.slice(way.indexOf(file)), file];
    if (done.has(file)) return undefined;
    for (const next of imports.get(file) ?? []) {
      const circle = walk(next, [...way, file]);
      if (circle !== undefined) return circle;
    }
    done.add(file);
    return undefined;
  };
  for (const file of imports.keys()) {
    const circle = walk(file, []);
    if (circle !== undefined) return circle;
  }
  return undefined;
}

describe("the layout of src", () => {
  it("has no circle of imports, types included", () => {
    assert.equal(circleIn(importsOfModules())?.join(" → "), undefined);
  });

  it("is in docs/architecture.md: each folder has a paragraph, and each paragraph its folder", () => {
    assert.deepEqual([...paragraphs().keys()].sort(), folders());
  });

  it("has one order: the lint rule's, which has every folder, is that of both documents", () => {
    const [, floors = ""] = /^const FLOORS = \[([^\]]*)\]/m.exec(read("eslint.config.ts")) ?? [];
    const order = [...floors.matchAll(/"(.*)"/g)].map(([, name]) => name);
    assert.deepEqual(order.toSorted(), folders());
    assert.deepEqual([...paragraphs().keys()], order);
    const [chain = ""] = /^ {4}cli → [^]*?\n\n/m.exec(read("CONTRIBUTING.md")) ?? [];
    assert.deepEqual(chain.match(/\w+/g), order);
  });

  it("has the files that docs/architecture.md names", () => {
    const named = [...paragraphs()].flatMap(([folder, text]) =>
      filesNamedIn(text).map((name) => (existsSync(join(root, name)) ? name : `src/${folder}/${name}`)),
    );
    const [, walk = ""] = architecture.split("## One update, room by room");
    named.push(...filesNamedIn(walk).map((name) => (existsSync(join(root, name)) ? name : `src/${name}`)));
    const missing = named.filter((path) => !existsSync(join(root, path)));
    assert.deepEqual(missing, [], `docs/architecture.md names ${missing.join(", ")}: correct it there`);
  });
});

/** The paragraphs of docs/architecture.md that begin with a folder's name, `**update/**`, by folder. */
function paragraphs(): Map<string, string> {
  const found = architecture.matchAll(/^\*\*([a-z-]+)\/\*\* ([^]*?)\n\n/gm);
  return new Map([...found].map(([, folder = "", text = ""]) => [folder, text]));
}

/** `engine.ts` and `src/update/states.ts`, as they stand in backticks. */
function filesNamedIn(text: string): string[] {
  return [...text.matchAll(/`([\w./-]+\.ts)`/g)].map(([, name = ""]) => name);
}
