/**
 * The bundle: the agent as one file that Node 20 runs. It must load in a Node without Intl and without native addons,
 * and the same commit must give the same bytes.
 */
import { chmod, readFile } from "node:fs/promises";
import { join } from "node:path";
import { build, type Plugin } from "esbuild";
import { buildDateS } from "./build-date.ts";

const root = join(import.meta.dirname, "..");

/**
 * Bundles the agent into one file that Node runs.
 * @param changes plugins that change the sources, for tests
 * @throws esbuild's error, which has been printed
 */
export async function bundle(outfile: string, changes: readonly Plugin[] = []): Promise<void> {
  await build({
    entryPoints: [join(root, "src/main.ts")],
    outfile,
    bundle: true,
    platform: "node",
    target: "node20",
    format: "cjs",
    minify: true,
    lineLimit: 200, // Node prints the whole line of an uncaught error
    // Otherwise errors and stack traces from the field would have minified names.
    keepNames: true,
    legalComments: "none",
    plugins: [withoutUnicodeProperties, ...changes],
    // A Node without Intl has no \p{…}. As literals, esbuild removes those in unused code.
    supported: { "regexp-unicode-property-escapes": true },
    banner: { js: "#!/usr/bin/env node" },
    // Otherwise ws would look for its optional native parts, which are not shipped.
    define: {
      "process.env.WS_NO_BUFFER_UTIL": '"1"',
      "process.env.WS_NO_UTF_8_VALIDATE": '"1"',
      BUILD_DATE_S: String(buildDateS(root, process.env)),
    },
  });
  await chmod(outfile, 0o755);
}

/**
 * systeminformation has one \p{…} in a file that all its parts load; a Node without Intl would refuse the whole
 * bundle because of it. The category Cc consists of these two ranges (Unicode, UnicodeData.txt).
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
