import type { SecureContext, TLSSocket } from "node:tls";

/** The last session for each context: of one host, as an agent has one hub. */
const sessions = new WeakMap<SecureContext, { readonly name: string; readonly session: Buffer }>();
/** Contexts whose host breaks off when it is shown a session, as servers do that ask for certificates carelessly. */
const refused = new WeakSet<SecureContext>();

/**
 * A session of a host to resume, which spares a Pi Zero most of the handshake; undefined without one. It
 * is bound to the trust and the client certificate it was made with, and to the name that was checked.
 */
export function resumableSession(context: SecureContext, name: string): Buffer | undefined {
  const last = sessions.get(context);
  return last?.name === name ? last.session : undefined;
}

/** Keeps what the host gives for the next connection. */
export function rememberSessions(context: SecureContext, name: string, socket: TLSSocket): void {
  socket.on("session", (session) => {
    if (!refused.has(context)) sessions.set(context, { name, session });
  });
}

/** After a failure that may be the session's: the next attempt is without. */
export function forgetSession(context: SecureContext): void {
  sessions.delete(context);
}

/** After a handshake that failed with a session: none is shown to this host any more. */
export function refuseSessions(context: SecureContext): void {
  refused.add(context);
  sessions.delete(context);
}
