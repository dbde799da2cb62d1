import { boardIdentity } from "../agent/board-identity.ts";
import { systemClock } from "../platform/clock.ts";
import { Failure } from "../platform/failure.ts";
import { quietLog, readConfig } from "./config.ts";
import { renderRows, type CommandContext } from "./terminal.ts";

/** `hublink identity`: who this board is to its hub. */
export async function identity(context: CommandContext, csr: boolean): Promise<void> {
  if (csr) throw new Failure("usage", "identity --csr is not built yet in this version of hublink");
  const config = await readConfig(context);
  const found = await boardIdentity(config, "/", systemClock, quietLog(config, context));
  const { certificate, source, warnings } = found.describe();
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
      ["sha-256", certificate.sha256.replace(/^(.{47}):/, "$1: ")],
      ["sha-1", certificate.sha1],
    );
  }
  for (const warning of warnings) rows.push(["warning", warning]);
  context.terminal.stdout.write(renderRows(rows));
}
