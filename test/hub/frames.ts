/**
 * The serializers of the stand-in hub: Phoenix's JSON and NervesHub's MessagePack. They share no code
 * with src/hub, so that a mistake there shows.
 */
import { decode, encode } from "@msgpack/msgpack";

/**
 * One message of a Phoenix socket. Everything but the payload's meaning is echoed as it came, so the
 * fields stay `unknown`: the real server takes a number for a ref, or an object for a topic.
 */
export interface Frame {
  readonly joinRef: unknown;
  readonly ref: unknown;
  readonly topic: unknown;
  readonly event: unknown;
  /** JSON, or the bytes of a binary push. */
  readonly payload: unknown;
}

/** A serializer, which the client selects with `?vsn=`. */
export interface Serializer {
  readonly vsn: string;
  /** @throws UndecodableFrame */
  decode(data: Buffer, isBinary: boolean): Frame;
  encode(frame: Frame): string | Buffer;
}

/** A frame that kills the socket with 1011. */
export class UndecodableFrame extends Error {}

const PUSH = 0;
const BINARY_HEADER_BYTES = 5;

/** Phoenix's V2 JSON serializer. Elements past the fifth are ignored, as there. */
const jsonSerializer: Serializer = {
  vsn: "2.0.0",
  decode(data, isBinary) {
    if (isBinary) return decodeBinaryPush(data);
    let parts: unknown;
    try {
      parts = JSON.parse(data.toString("utf8"));
    } catch {
      throw new UndecodableFrame("not JSON");
    }
    if (!Array.isArray(parts) || parts.length < 5) throw new UndecodableFrame("not five elements");
    const [joinRef, ref, topic, event, payload] = parts as unknown[];
    return { joinRef, ref, topic, event, payload };
  },
  encode: ({ joinRef, ref, topic, event, payload }) => JSON.stringify([joinRef, ref, topic, event, payload]),
};

function decodeBinaryPush(data: Buffer): Frame {
  if (data.length < BINARY_HEADER_BYTES || data[0] !== PUSH) throw new UndecodableFrame("not a binary push");
  let offset = BINARY_HEADER_BYTES;
  const [joinRef, ref, topic, event] = [...data.subarray(1, BINARY_HEADER_BYTES)].map((sizeBytes) => {
    const field = data.subarray(offset, offset + sizeBytes);
    if (field.length < sizeBytes) throw new UndecodableFrame("a binary push cut short");
    offset += sizeBytes;
    return field.toString("utf8");
  });
  return { joinRef, ref, topic, event, payload: data.subarray(offset) };
}

/** NervesHub's MessagePack serializer, with the library's own handling of timestamps. */
const msgpackSerializer: Serializer = {
  vsn: "3.0.0",
  decode(data, isBinary) {
    if (!isBinary) throw new UndecodableFrame("a text frame");
    let parts: unknown;
    try {
      parts = decode(data);
    } catch {
      throw new UndecodableFrame("not MessagePack");
    }
    if (!Array.isArray(parts) || parts.length < 5) throw new UndecodableFrame("not five elements");
    const [joinRef, ref, topic, event, payload] = parts as unknown[];
    return { joinRef, ref, topic, event, payload };
  },
  encode: ({ joinRef, ref, topic, event, payload }) =>
    Buffer.from(encode([joinRef, ref, topic, event, payload])),
};

/** The serializers a hub speaks. */
export const SERIALIZERS: readonly Serializer[] = [jsonSerializer, msgpackSerializer];
