/** `hublink identity`: prints who the board is; makes its key, and the request for its certificate. */
import { boardIdentity, identityDeps } from "../agent/board.ts";
import type { Config } from "../config/schema.ts";
import { credentialSource, presentName } from "../identity/credential-source.ts";
import { resolveIdentifier } from "../identity/identifier.ts";
import type { IdentityFacts } from "../identity/identity.ts";
import { Failure } from "../platform/failure.ts";
import type { FailureCode } from "../platform/failures.ts";
import { redact, silentLog } from "../platform/log.ts";
import { printableJson } from "../platform/text.ts";
import { commandLog, readConfig } from "./config.ts";
import { type Arguments, columnsOf, type CommandContext, renderRows } from "./terminal.ts";

/** `hublink identity [--generate] [--csr] [--json]` */
export async function identity(
  context: CommandContext,
  { has }: Arguments<"generate" | "csr" | "json">,
): Promise<void> {
  const [generate, csr] = [has("generate"), has("csr")];
  if (has("json") && (generate || csr))
    throw new Failure(
      "usage",
      "identity --json prints who the board is; leave out --generate and --csr (see hublink --help)",
    );
  const config = await readConfig(context);
  const { stdout, stderr } = context.terminal;
  if (generate) {
    const { generateKey } = await import("../identity/provision.ts"); // with the ASN.1 library, which is large
    const made = await generateKey(config.identity, context.world.clock);
    (csr ? stderr : stdout).write(`made ${made}\n`); // stdout is redirected into a file that must hold only the request
  }
  if (csr) {
    const deps = identityDeps(config, context.world, commandLog(config, context, "error"));
    const { certificateRequestOf } = await import("../identity/provision.ts");
    stdout.write(await certificateRequestOf(config.identity, deps));
  }
  if (!generate && !csr) await describe(config, context, has("json"));
}

/** Who the board is, as far as that is known. */
interface Known {
  readonly identifier: string;
  /** Null when the identity can't be loaded. */
  readonly facts: IdentityFacts | null;
  /** Why it can't be. */
  readonly problem: Failure | null;
}

async function describe(config: Config, context: CommandContext, json: boolean): Promise<void> {
  const known = await knownIdentity(config, context);
  const { stdout } = context.terminal;
  stdout.write(
    json
      ? `${printableJson(jsonOf(known), 2)}\n`
      : renderRows(rowsOf(known, columnsOf(stdout)), columnsOf(stdout)),
  );
  if (known.problem !== null) throw known.problem;
}

/** @throws Failure when not even the identifier is known */
async function knownIdentity(config: Config, context: CommandContext): Promise<Known> {
  try {
    const found = await boardIdentity(config, context.world, commandLog(config, context, "error"));
    return { identifier: found.identifier, facts: found.describe(), problem: null };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    // A person who asks an authority for a certificate needs the name that goes into it.
    const identifier = await nameWithoutKey(config, context).catch(() => {
      throw error;
    });
    return { identifier, facts: null, problem: error };
  }
}

async function nameWithoutKey(config: Config, { world }: CommandContext): Promise<string> {
  const source = credentialSource(config.identity, identityDeps(config, world, silentLog));
  const name = source === undefined ? undefined : await presentName(source);
  return await resolveIdentifier(config.identity.identifier, world, name);
}

/** The value that `--json` prints; docs/command-line.md has its keys, which stay. */
function jsonOf({ identifier, facts, problem }: Known): {
  readonly identifier: string;
  readonly source: string | null;
  readonly certificate: Readonly<Record<string, string>> | null;
  readonly warnings: readonly string[];
  readonly problem: { readonly failure: FailureCode; readonly message: string } | null;
} {
  const certificate = facts?.certificate;
  return {
    identifier,
    source: facts?.source ?? null,
    certificate:
      certificate === undefined
        ? null
        : {
            subject: certificate.subject,
            issuer: certificate.issuer,
            not_before: certificate.notBefore.toISOString(),
            not_after: certificate.notAfter.toISOString(),
            sha256: certificate.sha256,
            sha1: certificate.sha1,
          },
    warnings: facts?.warnings ?? [],
    problem: problem === null ? null : { failure: problem.code, message: redact(problem.message) },
  };
}

function rowsOf({ identifier, facts }: Known, columns: number): [string, string][] {
  const rows: [string, string][] = [["identifier", identifier]];
  if (facts === null) return rows;
  rows.push(["source", facts.source]);
  const { certificate } = facts;
  if (certificate !== undefined) {
    rows.push(
      ["subject", certificate.subject],
      ["issuer", certificate.issuer],
      ["valid from", certificate.notBefore.toISOString()],
      ["valid until", certificate.notAfter.toISOString()],
      ...fingerprint(certificate.sha256, columns),
      ["sha-1", certificate.sha1],
    );
  }
  for (const warning of facts.warnings) rows.push(["warning", warning]);
  return rows;
}

/** On one line, a SHA-256 with its colons is wider than a terminal. */
function fingerprint(sha256: string, columns: number): [string, string][] {
  if (columns > 110) return [["sha-256", sha256]];
  return [
    ["sha-256", sha256.slice(0, 48)],
    ["", sha256.slice(48)],
  ];
}
