/** bases.json, parsed: the Node that each binary contains. */
import * as v from "valibot";
import { Failure } from "../../src/platform/failure.ts";
import manifest from "./bases.json" with { type: "json" };

/** The CPUs that a binary is made for. */
export const TARGETS = ["armv6", "armv7", "aarch64", "x64"] as const;
export type Target = (typeof TARGETS)[number];

const common = {
  /** Its version. */
  node: v.pipe(v.string(), v.regex(/^\d+\.\d+\.\d+$/)),
  arch: v.picklist(["arm", "arm64", "x64"]),
  /** The SHA-256 of the unpacked executable. */
  sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  /** Whether it has pkg's patch, which leaves a word of its own in argv. */
  patchedByPkg: v.boolean(),
  /** Its maker, or the recipe in this repository that makes it. */
  madeBy: v.string(),
};
const baseSchema = v.union([
  /** A package on npm with `bin/node` in it; its version is Node's. */
  v.strictObject({ ...common, npm: v.string() }),
  /** An xz-compressed executable in the folder HUBLINK_NODE_BASES. */
  v.strictObject({ ...common, file: v.string() }),
]);

/** A Node that an agent can be put into. */
export type Base = v.InferOutput<typeof baseSchema>;

const { targets, bases } = v.parse(
  v.strictObject({
    targets: v.record(v.picklist(TARGETS), v.string()),
    bases: v.record(v.string(), baseSchema),
  }),
  manifest,
);

/** @throws Failure `config` when bases.json names none */
export function baseOf(target: Target): Base {
  const base = bases[targets[target] ?? ""];
  if (base === undefined) throw new Failure("config", `scripts/package/bases.json has no base for ${target}`);
  return base;
}

/** A Node for the machine that packs. @throws Failure `unavailable` when there is none */
export function npmBaseOf(arch: string): Base {
  const base = Object.values(bases).find((one) => "npm" in one && one.arch === arch);
  if (base === undefined)
    throw new Failure(
      "unavailable",
      `no base runs on this machine (${arch}); pack with Node.js 22.18 or later`,
    );
  return base;
}
