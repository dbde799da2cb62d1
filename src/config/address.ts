import * as v from "valibot";
import { checkedText, type Kind } from "./setting.ts";

const SOCKET_SCHEMES: Readonly<Record<string, string>> = {
  "wss:": "wss:",
  "https:": "wss:",
  "ws:": "ws:",
  "http:": "ws:",
};

const EXPECTED = "wss://HOST, ws://HOST or a bare host name, without user, password or fragment";

/** The hub's address in any of the spellings people use; its value is always `wss://…` or `ws://…`. */
export const hubAddress: Kind<string> = {
  expected: EXPECTED,
  form: "text",
  schema: v.pipe(
    v.string(EXPECTED),
    v.check((text) => text === "" || socketUrl(text) !== undefined, EXPECTED),
    v.transform((text) => socketUrl(text) ?? ""),
  ),
};

export const proxyAddress = checkedText("http://HOST:PORT, with user:password@ if need be", (text) => {
  const url = parseUrl(text);
  return url !== undefined && url.protocol === "http:" && /^\/?$/.test(url.pathname);
});

/** The address as `wss://…` or `ws://…`, without a slash at the end of a bare host. */
function socketUrl(text: string): string | undefined {
  if (/\s/.test(text)) return undefined;
  const url = parseUrl(text.includes("://") ? text : `wss://${text}`);
  if (url === undefined || url.username !== "" || url.password !== "" || text.includes("#")) return undefined;
  const scheme = SOCKET_SCHEMES[url.protocol];
  if (scheme === undefined) return undefined;
  return `${scheme}//${url.host}${url.pathname === "/" ? "" : url.pathname}${url.search}`;
}

function parseUrl(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined;
}
