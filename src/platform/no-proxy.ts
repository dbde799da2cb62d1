/**
 * NO_PROXY: which hosts are reached without a proxy. Rule: an entry means what it means to curl (lib/noproxy.c),
 * so that one variable serves all programs of a board; only HOST:PORT and addresses in brackets, which curl passes
 * over, are taken as well. An entry that can never match is reported: a firm's `*.example.com` sent each download
 * through a proxy that does not know the hosts inside, and nothing said so.
 */
import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";
import { portOf } from "./text.ts";

/** NO_PROXY, read. */
export interface NoProxy {
  /** Whether a URL's host is reached without a proxy. */
  readonly excepts: (url: URL) => boolean;
  /** One line for each entry that can never match; says what to write. */
  readonly warnings: readonly string[];
}

type Matches = (host: string) => boolean;

/** @param text entries between commas or blanks; empty for no exceptions */
export function parseNoProxy(text: string): NoProxy {
  if (text === "*") return { excepts: () => true, warnings: [] };
  const warnings: string[] = [];
  const rules: ((url: URL) => boolean)[] = [];
  for (const entry of text.split(/[\s,]+/).filter((piece) => piece !== "")) {
    const rule = parseEntry(entry.toLowerCase());
    if (typeof rule === "string") warnings.push(`NO_PROXY: "${entry}" matches no host; ${rule}`);
    else rules.push(rule);
  }
  return { excepts: (url) => rules.some((rule) => rule(url)), warnings };
}

/** What an entry matches, or why it matches nothing. */
function parseEntry(entry: string): ((url: URL) => boolean) | string {
  const [, bracketed, name = "", port] = /^(?:\[([^\]]*)\]|([^:]*)):(\d+)$/.exec(entry) ?? [];
  const matches = parseHosts(port === undefined ? entry.replace(/^\[(.*)\]$/, "$1") : (bracketed ?? name));
  if (typeof matches === "string") return matches;
  const wanted = port === undefined ? undefined : String(Number(port));
  return (url) => (wanted === undefined || wanted === portOf(url)) && matches(url.hostname);
}

function parseHosts(entry: string): Matches | string {
  if (isIP(entry) !== 0) return parseNetwork(entry, isIPv4(entry) ? "32" : "128");
  const [, address, bits] = /^([^/]*)\/(\d+)$/.exec(entry) ?? [];
  if (address !== undefined && bits !== undefined && isIP(address) !== 0) return parseNetwork(address, bits);
  return parseName(entry);
}

function parseNetwork(address: string, bits: string): Matches | string {
  if (address.includes("%")) return "a URL has no zone: leave out the % and what follows";
  const length = Number(bits);
  // To curl, /0 is the address itself.
  if (length === 0) return "a network of /0 is none to curl; write * alone to except all hosts";
  const [most, family] = isIPv4(address) ? [32, "ipv4" as const] : [128, "ipv6" as const];
  if (length > most) return `a network has at most ${most} bits`;
  const network = new BlockList();
  network.addSubnet(address, length, family);
  return (host) => {
    const unwrapped = host.replace(/^\[|\]$/g, "");
    const isOfFamily = family === "ipv4" ? isIPv4(unwrapped) : isIPv6(unwrapped);
    return isOfFamily && network.check(unwrapped, family);
  };
}

/** A name stands for itself and the names below it. A dot before it or after it makes no difference. */
function parseName(entry: string): Matches | string {
  const name = entry.replace(/^\./, "").replace(/\.$/, "");
  if (entry === "*") return "* counts only when it stands alone";
  if (/^\*\.[^*]+$/.test(entry)) return `write ${entry.slice(2)}, which stands for the names below it too`;
  if (entry.includes("://")) return "write the host alone, without http://";
  if (!/^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(name))
    return "write a host name, an address or a network such as 10.0.0.0/8, with commas between them";
  // The URL standard takes a name whose last label is a number for an IPv4 address, written out in full.
  if (/(^|\.)(\d+|0x[0-9a-f]*)$/.test(name))
    return "write an address with four numbers, or a network such as 10.0.0.0/8";
  return (host) => {
    const plain = host.replace(/\.$/, "");
    return plain === name || plain.endsWith(`.${name}`);
  };
}
