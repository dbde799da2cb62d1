import { boardIdentity } from "../agent/board-identity.ts";
import { systemClock } from "../platform/clock.ts";
import { Failure } from "../platform/failure.ts";
import { quietLog, readConfig } from "./config.ts";
import { columnsOf, renderRows, type CommandContext } from "./terminal.ts";

/** `hublink identity`: who this board is to its hub. */
export async function identity(context: CommandContext, csr: boolean): Promise<void> {
  if (csr) throw new Failure("unavailable", "identity --csr is not built yet in this version of hublink");
  const config = await readConfig(context);
  const found = await boardIdentity(config, "/", systemClock, quietLog(config, context));
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

/** A SHA-256 with its colons is wider than a terminal. */
function fingerprint(sha256: string, columns: number): [string, string][] {
  if (columns > 110) return [["sha-256", sha256]];
  return [
    ["sha-256", sha256.slice(0, 48)],
    ["", sha256.slice(48)],
  ];
}
