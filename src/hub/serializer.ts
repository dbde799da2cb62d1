/**
 * Frames of a Phoenix channel, and frames as JSON. What can't be decoded fails with `frame_invalid`, in words
 * that never quote the data: a frame may hold a signed URL.
 */
import { failedWith, Failure } from "../platform/failure.ts";
import { decodeUtf8 } from "../platform/text.ts";

/** A message of a Phoenix channel, the array `[join_ref, ref, topic, event, payload]` on the wire. */
export interface Frame {
  /** Ties a message to one join of a topic; null for heartbeats and broadcasts. */
  readonly joinRef: string | null;
  /** Pairs a push with its reply; null for what the server sends by itself. */
  readonly ref: string | null;
  readonly topic: string;
  readonly event: string;
  readonly payload: unknown;
}

/** One way to put frames on the wire; NervesHub picks it by the `vsn` of the URL. */
export interface Serializer {
  /** As in the setting hub.serializer. */
  readonly name: "json" | "msgpack";
  readonly vsn: string;
  encode(frame: Frame): string | Uint8Array;
  /** @throws Failure (`frame_invalid`) that names what is wrong */
  decode(data: Uint8Array, isBinary: boolean): Frame;
}

/** A larger message closes the socket with 1009 before it is read into memory. */
export const MAX_FRAME_BYTES = 1024 * 1024;

/**
 * Values in one frame, nested ones included. A million empty maps fit into a frame, and cost 146 MiB when they are built;
 * the checksums of 32 GiB of firmware are this many.
 */
export const MAX_FRAME_ITEMS = 32_768;

/** The failure of a decoder: these bytes are not a channel message. */
export function invalidFrame(problem: string): Failure {
  return new Failure("frame_invalid", `not a channel message: ${problem}`);
}

/** vsn 2.0.0: five-element JSON arrays in text frames. */
export const jsonSerializer: Serializer = {
  name: "json",
  vsn: "2.0.0",
  encode: (frame) => JSON.stringify([frame.joinRef, frame.ref, frame.topic, frame.event, frame.payload]),
  decode(data, isBinary) {
    if (isBinary) throw invalidFrame(`a binary frame of ${data.length} bytes`);
    let parsed: unknown;
    try {
      if (jsonItems(data) > MAX_FRAME_ITEMS) throw tooManyItems();
      parsed = JSON.parse(decodeUtf8(data));
    } catch (error) {
      if (failedWith(error, "frame_invalid")) throw error;
      throw invalidFrame(`${data.length} bytes that are not JSON`); // the parser's own words would quote the data
    }
    return toFrame(parsed);
  },
};

/** The failure of a decoder before it builds what would fill the memory. */
export function tooManyItems(): Failure {
  return invalidFrame(`more than ${MAX_FRAME_ITEMS} values`);
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const BRACKET = 0x5b;
const BRACE = 0x7b;
const COMMA = 0x2c;
const COLON = 0x3a;

/** How many values JSON may have, counted by what stands before each: nothing is built for it. */
function jsonItems(json: Uint8Array): number {
  if (json.length <= MAX_FRAME_ITEMS) return 0; // too short for too many
  let items = 0;
  let inText = false;
  for (let at = 0; at < json.length; at += 1) {
    const byte = json[at];
    if (byte === QUOTE) inText = !inText;
    else if (inText) at += byte === BACKSLASH ? 1 : 0;
    else if (byte === BRACKET || byte === BRACE || byte === COMMA || byte === COLON) items += 1;
  }
  return items;
}

/** @throws Failure (`frame_invalid`) that names what is wrong */
export function toFrame(parsed: unknown): Frame {
  if (!Array.isArray(parsed)) throw invalidFrame("not an array");
  if (parsed.length !== 5) throw invalidFrame(`an array of ${parsed.length} elements, not 5`);
  const [joinRef, ref, topic, event, payload] = parsed as unknown[];
  if (typeof topic !== "string") throw invalidFrame("the topic is not a string");
  if (typeof event !== "string") throw invalidFrame("the event is not a string");
  return { joinRef: toRef("join_ref", joinRef), ref: toRef("ref", ref), topic, event, payload };
}

/** Servers echo refs as they got them; some send numbers of their own. */
function toRef(name: string, value: unknown): string | null {
  if (value === null || typeof value === "string") return value;
  if (typeof value === "number") return String(value);
  throw invalidFrame(`${name} is neither a string nor null`);
}
