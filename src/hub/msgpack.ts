/**
 * Frames as MessagePack (vsn 3.0.0). The library is loaded only on boards that use it. It makes room for as many
 * items as a message announces, so a message is counted first: forty bytes could take all the memory.
 */
import { failedWith } from "../platform/failure.ts";
import { invalidFrame, MAX_FRAME_ITEMS, toFrame, tooManyItems, type Serializer } from "./serializer.ts";

/** vsn 3.0.0: the same five elements as MessagePack, in binary frames. Loads its library. */
export async function loadMsgpackSerializer(): Promise<Serializer> {
  const {
    decode,
    decodeTimestampToTimeSpec,
    encode,
    encodeTimestampExtension,
    ExtensionCodec,
    EXT_TIMESTAMP,
  } = await import("@msgpack/msgpack");
  const extensionCodec = new ExtensionCodec();
  extensionCodec.register({
    type: EXT_TIMESTAMP,
    encode: encodeTimestampExtension, // a Date
    // Text, as in JSON, so that nobody behind this has to know the encoding.
    decode: (data) => {
      const { sec, nsec } = decodeTimestampToTimeSpec(data);
      return new Date(sec * 1000 + Math.floor(nsec / 1e6)).toISOString();
    },
  });
  return {
    name: "msgpack",
    vsn: "3.0.0",
    encode: ({ joinRef, ref, topic, event, payload }) =>
      encode([joinRef, ref, topic, event, payload], { extensionCodec, ignoreUndefined: true }),
    decode(data, isBinary) {
      if (!isBinary) throw invalidFrame(`a text frame of ${data.length} bytes`);
      let parsed: unknown;
      try {
        if (announcedItems(data) > MAX_FRAME_ITEMS) throw tooManyItems();
        parsed = decode(data, { extensionCodec });
      } catch (error) {
        if (failedWith(error, "frame_invalid")) throw error;
        throw invalidFrame(`${data.length} bytes that are not MessagePack`); // the library's own words may quote the data
      }
      return toFrame(parsed);
    },
  };
}

/** The number of bytes that follow a type, for types of a fixed size. */
const FIXED_BYTES: Readonly<Record<number, number>> = {
  0xca: 4,
  0xcb: 8,
  0xcc: 1,
  0xcd: 2,
  0xce: 4,
  0xcf: 8,
  0xd0: 1,
  0xd1: 2,
  0xd2: 4,
  0xd3: 8,
  0xd4: 2,
  0xd5: 3,
  0xd6: 5,
  0xd7: 9,
  0xd8: 17,
};
/** Types whose length is written in `lengthBytes` bytes; `more` bytes follow besides. */
const LENGTH_BYTES: Readonly<Record<number, readonly [lengthBytes: number, more: number]>> = {
  0xc4: [1, 0],
  0xc5: [2, 0],
  0xc6: [4, 0],
  0xc7: [1, 1],
  0xc8: [2, 1],
  0xc9: [4, 1],
  0xd9: [1, 0],
  0xda: [2, 0],
  0xdb: [4, 0],
};
/** Types whose count is written in `countBytes` bytes; each counted entry is `items` items. */
const COUNT_BYTES: Readonly<Record<number, readonly [countBytes: number, items: number]>> = {
  0xdc: [2, 1],
  0xdd: [4, 1],
  0xde: [2, 2],
  0xdf: [4, 2],
};

/**
 * The number of items that the arrays and maps of a message announce, nested ones included.
 * @throws RangeError when the message is cut short
 */
function announcedItems(data: Uint8Array): number {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const number = (at: number, bytes: number): number =>
    bytes === 1 ? view.getUint8(at) : bytes === 2 ? view.getUint16(at) : view.getUint32(at);
  let items = 0;
  for (let at = 0; at < data.length;) {
    const type = view.getUint8(at);
    at += 1;
    if (type >= 0x80 && type <= 0x8f) items += (type & 0x0f) * 2;
    else if (type >= 0x90 && type <= 0x9f) items += type & 0x0f;
    else if (type >= 0xa0 && type <= 0xbf) at += type & 0x1f;
    at += FIXED_BYTES[type] ?? 0;
    const length = LENGTH_BYTES[type];
    if (length !== undefined) at += length[0] + length[1] + number(at, length[0]);
    const count = COUNT_BYTES[type];
    if (count !== undefined) {
      items += number(at, count[0]) * count[1];
      at += count[0];
    }
  }
  return items;
}
