/**
 * Which connection goes through which HTTP proxy, from `hub.proxy` and the environment. A proxy's password
 * stays in {@link Proxy.credentials}; no message shows it.
 */
import { Failure } from "./failure.ts";
import { type NoProxy, parseNoProxy } from "./no-proxy.ts";

/** An HTTP proxy, which connects to others by CONNECT. */
export interface Proxy {
  readonly host: string;
  readonly port: number;
  readonly credentials: { readonly user: string; readonly password: string } | undefined;
  /** HOST:PORT, for people to read. */
  readonly name: string;
}

/** The proxy for a URL (http, https, ws, wss); undefined for a direct connection. */
export type ProxyChoice = (url: URL) => Proxy | undefined;

/**
 * Reads the proxy settings. `hub.proxy` holds for all hosts. Without it, HTTPS_PROXY holds for https and wss
 * and HTTP_PROXY for http and ws, but not for this machine itself. NO_PROXY excepts hosts from all of them (see
 * no-proxy.ts). As in curl, a variable in small letters wins.
 * @param setting `hub.proxy`; empty when not set
 * @throws Failure `config` when a setting or variable is not the URL of an HTTP proxy
 */
export function chooseProxy(setting: string, env: Readonly<Record<string, string | undefined>>): ProxyChoice {
  const fixed = setting === "" ? undefined : parseProxy("hub.proxy", setting);
  const secure = fixed ?? proxyOf("HTTPS_PROXY", env);
  const plain = fixed ?? proxyOf("HTTP_PROXY", env);
  const { excepts } = noProxy(env);
  return (url) => {
    if ((fixed === undefined && isLoopback(url)) || excepts(url)) return undefined;
    return url.protocol === "https:" || url.protocol === "wss:" ? secure : plain;
  };
}

/** One line for each entry of NO_PROXY that can never match; none where no proxy is set. */
export function proxyWarnings(
  setting: string,
  env: Readonly<Record<string, string | undefined>>,
): readonly string[] {
  const isSet = [setting, variable("HTTPS_PROXY", env), variable("HTTP_PROXY", env)].some(
    (text) => text !== "",
  );
  return isSet ? noProxy(env).warnings : [];
}

function noProxy(env: Readonly<Record<string, string | undefined>>): NoProxy {
  return parseNoProxy(variable("NO_PROXY", env));
}

/** A host as `connect` takes it: an IPv6 address without its brackets. */
export function hostOf(name: string): string {
  return name.replace(/^\[|\]$/g, "");
}

function proxyOf(name: string, env: Readonly<Record<string, string | undefined>>): Proxy | undefined {
  const text = variable(name, env);
  return text === "" ? undefined : parseProxy(name, text.includes("://") ? text : `http://${text}`);
}

function variable(name: string, env: Readonly<Record<string, string | undefined>>): string {
  return (env[name.toLowerCase()] ?? "") || (env[name] ?? ""); // to curl, an empty variable is not set
}

/** The message does not show the text, which may hold a password. */
function parseProxy(name: string, text: string): Proxy {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== "http:" || url.hostname === "")
    throw new Failure("config", `${name}: expected http://HOST:PORT, with user:password@ if need be`);
  const port = Number(url.port || 80);
  const [user, password] = [decode(url.username), decode(url.password)];
  // RFC 7617 §2 forbids them; a line break would also be one in the configuration of the TLS helper.
  if (/[\0-\x1f\x7f]/.test(user + password))
    throw new Failure("config", `${name}: control characters in user or password`);
  return {
    host: hostOf(url.hostname),
    port,
    credentials: user === "" ? undefined : { user, password },
    name: `${url.hostname}:${port}`,
  };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a percent sign that was not escaped
  }
}

/** Whether a URL's host is this machine itself. */
export function isLoopback(url: URL): boolean {
  return /^(localhost|.+\.localhost|127(\.\d+){3}|\[::1\])\.?$/i.test(url.hostname);
}
