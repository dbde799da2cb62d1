/** `hublink identity`: prints who the board is; makes its key, and the request for its certificate. */
import { boardIdentity, identityDeps } from "../agent/board.ts";
import type { Config } from "../config/schema.ts";
import { commandLog, readConfig } from "./config.ts";
import { type Arguments, columnsOf, type CommandContext, renderRows } from "./terminal.ts";

/** `hublink identity [--generate] [--csr]` */
export async function identity(
  context: CommandContext,
  { has }: Arguments<"generate" | "csr">,
): Promise<void> {
  const [generate, csr] = [has("generate"), has("csr")];
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
  if (!generate && !csr) await describe(config, context);
}

async function describe(config: Config, context: CommandContext): Promise<void> {
  const found = await boardIdentity(config, context.world, commandLog(config, context, "error"));
  const { certificate, source, warnings } = found.describe();
  const columns = columnsOf(context.terminal.stdout);
  const rows: [string, string][] = [
    ["identifier", found.identifier],
    ["source", source],
  ];
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
  for (const warning of warnings) rows.push(["warning", warning]);
  context.terminal.stdout.write(renderRows(rows, columns));
}

/** On one line, a SHA-256 with its colons is wider than a terminal. */
function fingerprint(sha256: string, columns: number): [string, string][] {
  if (columns > 110) return [["sha-256", sha256]];
  return [
    ["sha-256", sha256.slice(0, 48)],
    ["", sha256.slice(48)],
  ];
}
