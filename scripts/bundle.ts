import { chmod, readFile } from "node:fs/promises";
import { join } from "node:path";
import { build, type Plugin } from "esbuild";
import { buildDateS } from "./build-date.ts";

const root = join(import.meta.dirname, "..");

/**
 * Bundles the agent into one file that Node runs.
 * @throws esbuild's error, which has been printed
 */
export async function bundle(outfile: string): Promise<void> {
  await build({
    entryPoints: [join(root, "src/main.ts")],
    outfile,
    bundle: true,
    platform: "node",
    target: "node20",
    format: "cjs",
    minify: true,
    lineLimit: 200, // Node prints the line of an uncaught error: not the whole bundle, please
    // Errors name their classes, and a stack trace from the field should be readable.
    keepNames: true,
    legalComments: "none",
    plugins: [withoutUnicodeProperties],
    // A Node without Intl has no \p{…}: left as literals, those that nobody uses go.
    supported: { "regexp-unicode-property-escapes": true },
    banner: { js: "#!/usr/bin/env node" },
    // ws's optional native speed-ups: never shipped, so not asked for.
    define: {
      "process.env.WS_NO_BUFFER_UTIL": '"1"',
      "process.env.WS_NO_UTF_8_VALIDATE": '"1"',
      BUILD_DATE_S: String(buildDateS(root, process.env)),
    },
  });
  await chmod(outfile, 0o755);
}

/**
 * systeminformation has one \p{…} in a file that all of it needs; a Node without Intl would refuse the whole
 * bundle for it. The category Cc is just these two ranges (Unicode, UnicodeData.txt).
 */
const withoutUnicodeProperties: Plugin = {
  name: "without-unicode-properties",
  setup(bundling) {
    bundling.onLoad({ filter: /systeminformation[\\/]lib[\\/]filesystem\.js$/ }, async ({ path }) => {
      const source = await readFile(path, "utf8");
      return { contents: source.replaceAll("/\\p{Cc}/u", "/[\\0-\\x1f\\x7f-\\x9f]/"), loader: "js" };
    });
  },
};
