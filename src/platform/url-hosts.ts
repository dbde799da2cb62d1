/**
 * `firmware.url_hosts`: the hosts that the hub may have files fetched from. A hub that somebody else runs, or broke
 * into, could otherwise have each board ask any server of its own network. Names are compared, not addresses.
 */
import { portOf } from "./text.ts";

/** One entry, read. */
interface HostPattern {
  /** As a URL has it. */
  readonly hostname: string;
  /** It stands for the names below it, and not for the name itself. */
  readonly below: boolean;
  /** Undefined for any port. */
  readonly port: string | undefined;
}

/** Whether an entry can be read. */
export function isHostPattern(entry: string): boolean {
  return parsePattern(entry) !== undefined;
}

/**
 * Whether a URL may be fetched.
 * @param entries valid ones; none allow each URL
 */
export function mayFetchFrom(entries: readonly string[]): (url: URL) => boolean {
  const patterns = entries.map(parsePattern).filter((pattern) => pattern !== undefined);
  if (patterns.length === 0) return () => true;
  return (url) => patterns.some((pattern) => matches(pattern, url));
}

function matches({ hostname, below, port }: HostPattern, url: URL): boolean {
  const host = url.hostname.replace(/\.$/, "");
  if (port !== undefined && port !== portOf(url)) return false;
  return below ? host.endsWith(`.${hostname}`) : host === hostname;
}

/** Undefined when it is not HOST, HOST:PORT, or either after `*.` or a dot. */
function parsePattern(entry: string): HostPattern | undefined {
  const [, wildcard, name = "", port] = /^(\*?\.)?([^:[\]]+|\[[^\]]*\])(?::(\d{1,5}))?$/.exec(entry) ?? [];
  if (/[\s/?#@*\\%]/.test(name) || !URL.canParse(`http://${name}`)) return undefined;
  const hostname = new URL(`http://${name}`).hostname.replace(/\.$/, "");
  if (hostname === "") return undefined;
  return {
    hostname,
    below: wildcard !== undefined,
    port: port === undefined ? undefined : String(Number(port)),
  };
}
