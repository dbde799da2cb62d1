/**
 * Who the board is, whether its key signs, and whether the hub takes it. The daemon's own code loads and
 * connects, so that the check can't succeed where the daemon would fail.
 */
import { boardIdentity, identityDeps } from "../agent/board.ts";
import type { Config } from "../config/schema.ts";
import { connectFailure } from "../hub/connect-error.ts";
import { presentsCertificate, hubRequests } from "../hub/connect-request.ts";
import { openWebSocket } from "../hub/handshake.ts";
import { jsonSerializer } from "../hub/serializer.ts";
import { credentialSource } from "../identity/credential-source.ts";
import type { Identity, IdentityFacts } from "../identity/identity.ts";
import { proveKey } from "../identity/signing.ts";
import { loadTrust } from "../identity/trust.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import { silentLog } from "../platform/log.ts";
import type { World } from "../platform/world.ts";
import type { CheckReport } from "./check-report.ts";

const STUNNEL_TIMEOUT_MS = 10_000;

/**
 * Loads the identity and checks its certificate, key, TLS helper and token.
 * @returns undefined when it can't be loaded
 */
export async function checkIdentity(
  config: Config,
  world: World,
  report: CheckReport,
): Promise<Identity | undefined> {
  const setting = `identity.${config.identity.source.replace("-", "_")}`;
  try {
    const identity = await boardIdentity(config, world, silentLog);
    const facts = identity.describe();
    report.add("ok", "identity", `${identity.identifier}, ${facts.source}`);
    reportCertificate(facts, report);
    await checkHelper(identity, world, report);
    await checkKey(config, world, report);
    return identity;
  } catch (error) {
    report.fail("identity", setting, error);
    return undefined;
  }
}

function reportCertificate(facts: IdentityFacts, report: CheckReport): void {
  const { certificate, validity, warnings } = facts;
  if (certificate !== undefined) {
    const until = certificate.notAfter.toISOString().slice(0, 10);
    report.add("ok", "certificate", `${certificate.subject}, valid until ${until}`);
    report.add("ok", "sha-256", certificate.sha256.slice(0, 48), certificate.sha256.slice(48));
    report.add("ok", "sha-1", certificate.sha1);
  }
  for (const warning of warnings) {
    // A clock that is behind makes a certificate "not valid yet", and may still be set. One that is ahead is rare.
    if (warning === facts.dateWarning && validity === "expired")
      report.fail("certificate", "identity", new Failure("certificate_expired", warning));
    else report.add("warn", warning === facts.dateWarning ? "certificate" : "identity", warning);
  }
}

/** Otherwise a missing stunnel would show only at the first connection. */
async function checkHelper(identity: Identity, { clock, run }: World, report: CheckReport): Promise<void> {
  const { tls } = await identity.connection(Math.floor(clock.now() / 1000));
  if (tls.kind !== "helper") return;
  const options = { clock, timeoutMs: STUNNEL_TIMEOUT_MS };
  const { stderr, stdout } = await run(["stunnel", "-version"], options);
  report.add("ok", "TLS", `by ${/stunnel \d[\d.]*/.exec(stderr + stdout)?.[0] ?? "stunnel"}`);
}

async function checkKey(config: Config, world: World, report: CheckReport): Promise<void> {
  const source = credentialSource(config.identity, identityDeps(config, world, silentLog));
  if (source === undefined) return;
  const key = await source.key();
  try {
    await proveKey(key, (await source.certificate()).chain, world.clock);
    report.add("ok", "key", "signs, and belongs to the certificate");
  } catch (error) {
    // This proof needs the openssl program; the daemon does not.
    if (!(error instanceof Failure) || error.kind !== "unavailable") throw error;
    report.add("warn", "key", `not proven, as that takes the openssl program: ${messageOf(error)}`);
  }
}

/** Connects to the hub as the daemon does, and hangs up before it would join. */
export async function checkConnection(
  config: Config,
  identity: Identity,
  world: World,
  report: CheckReport,
): Promise<void> {
  const { ca } = await loadTrust(config.hub.caFile, world);
  try {
    const request = await hubRequests(config.hub, identity, ca)(world.clock.now(), jsonSerializer.vsn);
    const { webSocket } = await openWebSocket(request, world.clock, new AbortController().signal);
    webSocket.on("error", () => undefined); // the hub has answered: how the connection ends does not matter
    webSocket.terminate();
    report.add("ok", "connection", `${request.url.host} takes this board`);
  } catch (error) {
    report.fail(
      "connection",
      "hub",
      connectFailure(error, { clientCertificate: presentsCertificate(config.hub, identity) }),
    );
  }
}
