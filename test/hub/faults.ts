/**
 * Everything that can go wrong between a device and its hub, or in a download, on purpose: resets, silence,
 * wrong bytes, wrong headers, refusals. A test adds a fault to the hub's FaultBox for a number of uses.
 */
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { sleep, type Cancel, type Clock } from "../../src/platform/clock.ts";
import { readFile, type Exchange } from "./download-server.ts";
import type { Refusal } from "./upgrade.ts";

/** A device's open socket, as faults see it. */
interface FaultySocket {
  readonly clock: Clock;
  close(code: number): void;
  terminate(): void;
  sendRaw(data: string | Buffer): void;
}

/** A fault; each hook is a point at which it can act. */
export interface Fault {
  readonly name: string;
  /** A TCP connection came in, to the hub or to the download server. */
  connection?(raw: Socket): void;
  /** An upgrade came in: a refusal to send instead. */
  upgrade?(request: IncomingMessage): Refusal;
  /** An upgrade is about to be accepted, with these lines of headers. */
  headers?(lines: string[]): void;
  /** A socket is open; the returned function is called at its end. */
  open?(socket: FaultySocket): Cancel;
  /** A frame of the device; true drops it. */
  incoming?(frame: { readonly topic: unknown; readonly event: unknown }): boolean;
  /** A frame for the device; true drops it. */
  outgoing?(frame: { readonly topic: unknown; readonly event: unknown }): boolean;
  /** A download is about to be answered. */
  download?(exchange: Exchange): void;
}

/** The faults that are switched on. */
export class FaultBox {
  readonly #active: { readonly fault: Fault; left: number }[] = [];

  /** Switches a fault on for its next `times` uses. @returns switches it off */
  add(fault: Fault, times = Infinity): Cancel {
    const entry = { fault, left: times };
    this.#active.push(entry);
    return () => {
      entry.left = 0;
    };
  }

  /** Switches everything off. */
  clear(): void {
    for (const entry of this.#active) entry.left = 0;
  }

  /** Names of those still on. */
  get names(): string[] {
    return this.#active.filter(({ left }) => left > 0).map(({ fault }) => fault.name);
  }

  /** Runs one hook of every fault that has it, using each up by one. @returns what they returned */
  apply<K extends Exclude<keyof Fault, "name">>(
    hook: K,
    argument: Parameters<NonNullable<Fault[K]>>[0],
  ): ReturnType<NonNullable<Fault[K]>>[] {
    const results: ReturnType<NonNullable<Fault[K]>>[] = [];
    for (const entry of this.#active) {
      const { fault } = entry;
      if (entry.left <= 0 || fault[hook] === undefined) continue;
      entry.left -= 1;
      const run = fault[hook].bind(fault) as (given: typeof argument) => (typeof results)[number];
      results.push(run(argument));
    }
    return results;
  }
}

/** TCP reset as soon as a connection is accepted. */
export function resetAtConnect(): Fault {
  return { name: "reset-at-connect", connection: (raw) => void raw.resetAndDestroy() };
}

/** Refuses upgrades with a status and headers of choice. */
export function refuseUpgrade(status: number, headers: Readonly<Record<string, string>> = {}): Fault {
  return { name: `refuse-upgrade ${status}`, upgrade: () => ({ status, headers, body: "" }) };
}

/** Redirects upgrades; by default to the same place. */
export function redirectUpgrade(location?: string, status = 302): Fault {
  return {
    name: "redirect-upgrade",
    upgrade: ({ url = "" }) => ({ status, headers: { location: location ?? url }, body: "" }),
  };
}

/** Accepts upgrades with a `Date` that is wrong by `offMs`. */
export function wrongDate(offMs: number): Fault {
  return {
    name: `wrong-date ${Math.round(offMs / 86_400_000)} d`,
    headers(lines) {
      for (const [index, line] of lines.entries()) {
        const date = /^date: (.*)$/i.exec(line)?.[1];
        if (date !== undefined) lines[index] = `date: ${new Date(Date.parse(date) + offMs).toUTCString()}`;
      }
    },
  };
}

/** Accepts, then closes at once: with `code`, or without a close frame when it is 1006. */
export function acceptThenClose(code = 1006): Fault {
  return {
    name: `accept-then-close ${code}`,
    open(socket) {
      if (code === 1006) socket.terminate();
      else socket.close(code);
      return () => undefined;
    },
  };
}

/** Drops heartbeats, so that the link looks open but gets no answer. */
export function swallowHeartbeats(): Fault {
  return { name: "swallow-heartbeats", incoming: ({ topic }) => topic === "phoenix" };
}

/** Drops all frames in both directions. */
export function dropFrames(): Fault {
  return { name: "drop-frames", incoming: () => true, outgoing: () => true };
}

/** Breaks each connection after `afterMs`. */
export function flap(afterMs: number): Fault {
  return {
    name: `flap ${afterMs} ms`,
    open: (socket) => socket.clock.after(afterMs, () => socket.terminate()),
  };
}

/** Sends an unreadable frame when a socket opens. */
export function garbageFrame(data: string | Buffer = '{"not":"a frame"'): Fault {
  return {
    name: "garbage-frame",
    open(socket) {
      socket.sendRaw(data);
      return () => undefined;
    },
  };
}

/** Resets the TCP connection after `sizeBytes` of the body. */
export function resetAfter(sizeBytes: number): Fault {
  return {
    name: `reset-after ${sizeBytes}`,
    download(exchange) {
      exchange.body = stopAfter(exchange.body, sizeBytes, exchange.closed, () => exchange.reset());
    },
  };
}

/** After `sizeBytes` of the body, puts bytes into the TCP connection that are not TLS. */
export function breakTlsAfter(sizeBytes: number): Fault {
  return {
    name: `break-tls-after ${sizeBytes}`,
    download(exchange) {
      exchange.body = stopAfter(exchange.body, sizeBytes, exchange.closed, () => exchange.garble());
    },
  };
}

/** Sends nothing more after `sizeBytes`, and keeps the connection open. */
export function stallAfter(sizeBytes: number): Fault {
  return {
    name: `stall-after ${sizeBytes}`,
    download(exchange) {
      exchange.body = stopAfter(exchange.body, sizeBytes, exchange.closed, () => undefined);
    },
  };
}

/** Sends `sizeBytes` each `tickMs`. */
export function drip(sizeBytes: number, tickMs: number): Fault {
  return {
    name: `drip ${sizeBytes}/${tickMs} ms`,
    download(exchange) {
      const { body } = exchange;
      exchange.body = (async function* () {
        for await (const chunk of body) {
          for (let at = 0; at < chunk.length; at += sizeBytes) {
            yield chunk.subarray(at, at + sizeBytes);
            await sleep(exchange.clock, tickMs, exchange.closed);
          }
        }
      })();
    },
  };
}

/** Ends the connection after `sizeBytes`, fewer than the Content-Length announces. */
export function truncateAt(sizeBytes: number): Fault {
  return {
    name: `truncate-at ${sizeBytes}`,
    download(exchange) {
      exchange.body = head(exchange.body, sizeBytes);
    },
  };
}

/** Announces `deltaBytes` more (or fewer) than it sends. */
export function wrongContentLength(deltaBytes: number): Fault {
  return {
    name: `wrong-content-length ${deltaBytes}`,
    download(exchange) {
      exchange.headers["content-length"] = String(Number(exchange.headers["content-length"]) + deltaBytes);
    },
  };
}

/** Flips every bit of the byte at this offset of the file. */
export function corruptByte(offset: number): Fault {
  return {
    name: `corrupt-byte ${offset}`,
    download(exchange) {
      let at = exchange.startByte;
      exchange.body = mapBody(exchange.body, (chunk) => {
        const index = offset - at;
        at += chunk.length;
        const byte = chunk[index];
        if (byte === undefined) return chunk;
        const copy = Buffer.from(chunk);
        copy[index] = byte ^ 0xff;
        return copy;
      });
    },
  };
}

/** Sends the bytes before this offset of the file twice; the length stays that of the whole. */
export function duplicateBytes(offset: number, sizeBytes: number): Fault {
  return {
    name: `duplicate-bytes ${offset} ${sizeBytes}`,
    download(exchange) {
      const { release, startByte: start } = exchange;
      if (offset < start) return;
      const last = release.sizeBytes - 1;
      const body = async function* (): AsyncGenerator<Buffer> {
        yield* readFile(release.path, start, offset - 1);
        yield* readFile(release.path, Math.max(offset - sizeBytes, 0), last);
      };
      exchange.body = head(body(), Number(exchange.headers["content-length"]));
    },
  };
}

/** Answers a range request with 200 and the whole file. */
export function ignoreRange(): Fault {
  return {
    name: "ignore-range",
    download(exchange) {
      const { release, headers } = exchange;
      exchange.status = 200;
      delete headers["content-range"];
      headers["content-length"] = String(release.sizeBytes);
      exchange.startByte = 0;
      exchange.body = readFile(release.path, 0, release.sizeBytes - 1);
    },
  };
}

/** Announces a Content-Range that starts `shiftBytes` away from the bytes that are sent. */
export function lyingContentRange(shiftBytes: number): Fault {
  return {
    name: `lying-content-range ${shiftBytes}`,
    download({ headers, startByte, release }) {
      if (headers["content-range"] === undefined) return;
      const end = startByte + Number(headers["content-length"]) - 1;
      headers["content-range"] = `bytes ${startByte + shiftBytes}-${end + shiftBytes}/${release.sizeBytes}`;
    },
  };
}

/** Gives another ETag with each request, as if the file had changed. */
export function changingEtag(): Fault {
  let requests = 0;
  return {
    name: "changing-etag",
    download(exchange) {
      requests += 1;
      exchange.headers["etag"] = `"changed-${requests}"`;
      if (exchange.request.headers["if-range"] !== undefined) ignoreRange().download?.(exchange);
    },
  };
}

/** Refuses downloads: 404, 410, 403, 500, 503 with `retry-after`, … */
export function refuseDownload(status: number, retryAfterS?: number): Fault {
  return {
    name: `refuse-download ${status}`,
    download(exchange) {
      answerOnly(exchange, status, retryAfterS === undefined ? {} : { "retry-after": String(retryAfterS) });
    },
  };
}

/** Redirects downloads; by default to the same place. */
export function redirectDownload(location?: string): Fault {
  return {
    name: "redirect-download",
    download(exchange) {
      const url = exchange.request.url ?? "";
      if (location === undefined && url.includes("&redirected")) return;
      answerOnly(exchange, 302, { location: location ?? `${url}&redirected` });
    },
  };
}

function answerOnly(exchange: Exchange, status: number, headers: Readonly<Record<string, string>>): void {
  exchange.status = status;
  for (const name of Object.keys(exchange.headers)) Reflect.deleteProperty(exchange.headers, name);
  Object.assign(exchange.headers, { "content-length": "0", ...headers });
  exchange.body = head(exchange.body, 0);
}

async function* head(body: AsyncIterable<Buffer>, sizeBytes: number): AsyncGenerator<Buffer> {
  let left = sizeBytes;
  if (left <= 0) return;
  for await (const chunk of body) {
    yield chunk.subarray(0, left);
    left -= chunk.length;
    if (left <= 0) return;
  }
}

/**
 * Sends `sizeBytes` of the body, calls `stop`, then sends nothing until the connection is gone. A shorter body is sent
 * whole: a reset right behind its last byte takes that byte away from a client that is slow to read, each time again.
 */
async function* stopAfter(
  body: AsyncIterable<Buffer>,
  sizeBytes: number,
  closed: AbortSignal,
  stop: () => void,
): AsyncGenerator<Buffer> {
  let left = sizeBytes;
  for await (const chunk of body) {
    if (chunk.length <= left) {
      yield chunk;
      left -= chunk.length;
      continue;
    }
    if (left > 0) yield chunk.subarray(0, left);
    stop();
    if (closed.aborted) return;
    await new Promise<void>((resolve) => {
      closed.addEventListener("abort", () => resolve(), { once: true });
    });
    return;
  }
}

async function* mapBody(
  body: AsyncIterable<Buffer>,
  change: (chunk: Buffer) => Buffer,
): AsyncGenerator<Buffer> {
  for await (const chunk of body) yield change(chunk);
}
