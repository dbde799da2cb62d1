import { defineConfig } from "eslint/config";
import regexp from "eslint-plugin-regexp";
import tseslint from "typescript-eslint";

/**
 * The folders of src, from the roof to the ground: each may import those that stand after it, none before
 * it. Otherwise a driver could come to know the agent, and no part could be read or tested by itself.
 */
const FLOORS = [
  "cli",
  "agent",
  "care",
  "remote",
  "extensions",
  "update",
  "control",
  "hub",
  "download",
  "firmware",
  "identity",
  "board",
  "config",
  "platform",
];

type Rule = ["error", object];

const importOnlyDownwards = FLOORS.slice(1).map((folder, index) => {
  const above = FLOORS.slice(0, index + 1);
  const message = `src/${folder} may import only what stands below it: ${FLOORS.slice(index + 2).join(", ") || "nothing"}`;
  return {
    files: [`src/${folder}/**`],
    rules: {
      "no-restricted-imports": [
        "error",
        { patterns: [{ group: above.map((name) => `**/${name}/*`), message }] },
      ] satisfies Rule,
      "no-restricted-syntax": [
        "error",
        { selector: `ImportExpression[source.value=/\\u002F(${above.join("|")})\\u002F/]`, message },
      ] satisfies Rule,
    },
  };
});

export default defineConfig(
  { ignores: ["dist", "node_modules", ".cache", "test/bin", "vendor"] },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/switch-exhaustiveness-check": [
        "error",
        { considerDefaultExhaustiveForUnions: true },
      ],
      "@typescript-eslint/promise-function-async": "error",
      "@typescript-eslint/no-unused-vars": ["error", { ignoreUsingDeclarations: true }],
      "@typescript-eslint/restrict-template-expressions": [
        "error",
        { allowNumber: true, allowBoolean: true },
      ],
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      "no-empty": ["error", { allowEmptyCatch: false }],
      eqeqeq: "error",
    },
  },
  ...importOnlyDownwards,
  {
    // A regular expression that backtracks lets whoever writes the text decide how long the agent reads it.
    files: ["src/**"],
    plugins: { regexp },
    rules: {
      "regexp/no-super-linear-backtracking": ["error", { report: "potential" }],
      "regexp/no-super-linear-move": [
        "error",
        { report: "potential", ignorePartial: false, ignoreSticky: false },
      ],
    },
  },
  {
    // node:test's describe/it return promises that the runner itself awaits.
    files: ["test/**"],
    rules: {
      "@typescript-eslint/no-floating-promises": [
        "error",
        {
          allowForKnownSafeCalls: [
            { from: "package", package: "node:test", name: ["describe", "it", "test"] },
          ],
        },
      ],
    },
  },
);
