/**
 * Decides who may connect to the stand-in hub: by a client certificate or by signed headers. Status codes and
 * texts of refusals are the real server's (admission.test.ts compares them with a recording).
 */
import type { X509Certificate } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { SERIALIZERS, type Serializer } from "./frames.ts";
import { verifyNh1, type SharedSecret } from "./nh1.ts";
import { commonName } from "./tls-front.ts";

/** An HTTP answer instead of an upgrade. */
export interface Refusal {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** The device that may connect, and its serializer. */
export interface Admission {
  readonly identifier: string;
  readonly serializer: Serializer;
}

const NO_CREDENTIALS = "no certificate pair or shared secrets connection settings were provided";
const UNREACHABLE = "the platform could not be reached to authenticate this device";

/**
 * Decides on an upgrade as NervesHub does.
 * @param options.isDeviceEndpoint an endpoint that asks for client certificates serves both paths, the
 *   web endpoint only the one for shared secrets
 * @param options.certificate the client's, already found good
 */
export function admit(
  request: IncomingMessage,
  options: {
    readonly isDeviceEndpoint: boolean;
    readonly certificate: X509Certificate | undefined;
    readonly secrets: ReadonlyMap<string, SharedSecret>;
    /** The serializers that the hub speaks; undefined: all of them. */
    readonly vsns: readonly string[] | undefined;
    readonly nowMs: number;
  },
): Admission | Refusal {
  const url = new URL(request.url ?? "/", "http://hub");
  const isKnown = url.pathname === "/socket/websocket" || url.pathname === "/device-socket/websocket";
  if (!isKnown) return redirectToWeb(request);
  const serializer = SERIALIZERS.find(({ vsn }) => vsn === url.searchParams.get("vsn"));
  if (serializer === undefined || options.vsns?.includes(serializer.vsn) === false) return empty(403);
  if (url.pathname === "/socket/websocket" && !options.isDeviceEndpoint) return empty(403);
  if (options.certificate !== undefined) {
    const identifier = commonName(options.certificate);
    return identifier === undefined ? empty(401) : { identifier, serializer };
  }
  if (!Object.keys(request.headers).some((name) => name.startsWith("x-"))) {
    return explained(401, NO_CREDENTIALS);
  }
  const verdict = verifyNh1(request.headers, options.secrets, options.nowMs);
  if ("identifier" in verdict) return { identifier: verdict.identifier, serializer };
  return verdict.refused === "platform" ? explained(503, UNREACHABLE) : empty(401);
}

/** NervesHub's answer to a path it does not serve. */
export function redirectToWeb(request: IncomingMessage): Refusal {
  const host = (request.headers.host ?? "").replace(/:\d+$/, "");
  return { status: 301, headers: { location: `https://${host}${request.url ?? "/"}` }, body: "" };
}

function empty(status: number): Refusal {
  return { status, headers: {}, body: "" };
}

function explained(status: number, reason: string): Refusal {
  return { status, headers: { "nh-connection-error-reason": reason }, body: reason };
}
