/**
 * The metadata of a firmware archive, read by fwup from the first 64 KiB, so that an archive that is not the
 * announced one is refused before the slot is cleared.
 */
import * as v from "valibot";
import { failedWith, Failure, messageOf } from "../platform/failure.ts";
import { shortened } from "../platform/text.ts";
import { flawOfFile } from "./archive-shape.ts";
import { byTens, checkFile, keyArguments, queryFwup, type QueryOptions } from "./fwup.ts";

/** What a board compares and keeps in its state. The limits are those of what a hub announces. */
function name(key: string, max = 256) {
  return v.pipe(v.string(), v.maxLength(max, `a meta-${key} of more than ${max} characters`));
}

const Text = v.optional(v.string());

const Metadata = v.object({
  uuid: v.pipe(v.optional(name("uuid", 64), ""), v.nonEmpty("no meta-uuid")),
  product: v.optional(name("product")),
  version: v.optional(name("version")),
  platform: v.optional(name("platform")),
  architecture: v.optional(name("architecture")),
  author: Text,
  description: Text,
  vcsIdentifier: Text,
  misc: Text,
  /** ISO 8601. */
  creationDate: Text,
});

/** The metadata of an archive; fwup leaves out empty values, except for the uuid. */
export type FirmwareMetadata = v.InferOutput<typeof Metadata>;

/**
 * The first bytes of an archive that always hold its metadata: fwup refuses a meta.conf above 50 000 bytes, the
 * signature before it has 64, and headers and deflate's overhead need far less than the rest.
 */
export const METADATA_HEAD_BYTES = 64 * 1024;

/**
 * A line of `fwup -m`: since 1.14 quoted only where needed, before that always; a quoted value may hold
 * line ends. The last alternative takes in quotes that an old fwup did not escape.
 */
const LINE = /^meta-([\w-]+)=(?:"((?:\\[^]|[^"\\])*)"|"(.*)"|(.*))$/gm;

/**
 * Reads the output of `fwup -m`.
 * @throws Failure when it has no uuid
 */
export function parseMetadata(text: string): FirmwareMetadata {
  const values: Record<string, string> = {};
  for (const [, key, quoted, loose, bare] of text.matchAll(LINE)) {
    if (key === undefined) continue;
    const name = key.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
    values[name] ??= quoted?.replace(/\\([^])/g, "$1") ?? loose ?? bare ?? "";
  }
  const result = v.safeParse(Metadata, values);
  if (result.success) return result.output;
  throw new Failure("metadata_invalid", `the firmware's metadata has ${result.issues[0].message}`);
}

export interface MetadataOptions extends QueryOptions {
  /** When given, the metadata's signature must be by one of these (base64 Ed25519). */
  readonly publicKeys?: readonly string[];
}

/**
 * The metadata of an archive on disk.
 * @throws Failure with fwup's words, such as a signature by none of the keys; for a file that is no whole archive it
 *   says which one, and what is wrong with it
 */
export async function readMetadata(
  options: MetadataOptions & { readonly file: string },
): Promise<FirmwareMetadata> {
  const { file } = options;
  await checkFile("firmware", file);
  try {
    return (await askMetadata(options, ["-i", file])).metadata;
  } catch (error) {
    const flaw = failedWith(error, "failed", "metadata_invalid") ? await flawOfFile(file) : undefined;
    if (flaw === undefined) throw error;
    throw new Failure("metadata_invalid", `${messageOf(error)}; firmware ${file} ${flaw}`, { cause: error });
  }
}

/**
 * The metadata of an archive of which only the first bytes are there.
 * @param options.head {@link METADATA_HEAD_BYTES} are enough, or the whole archive when it is shorter
 * @throws Failure with fwup's words; it says so when `head` may be too short
 */
export async function readMetadataFromHead(
  options: MetadataOptions & { readonly head: Uint8Array },
): Promise<Accepted> {
  const { head } = options;
  try {
    return await askMetadata(options, [], head.subarray(0, METADATA_HEAD_BYTES));
  } catch (error) {
    options.signal?.throwIfAborted();
    if (head.length >= METADATA_HEAD_BYTES || failedWith(error, "fwup_missing")) throw error;
    const text = `${messageOf(error)} (in the first ${head.length} bytes; up to ${METADATA_HEAD_BYTES} are needed)`;
    throw new Failure("metadata_invalid", text, { cause: error });
  }
}

interface Accepted {
  readonly metadata: FirmwareMetadata;
  /** Those of the keys with which fwup accepts the archive, ten at most; empty when none were given. */
  readonly publicKeys: readonly string[];
}

async function askMetadata(
  options: MetadataOptions,
  args: readonly string[],
  stdin?: Uint8Array,
): Promise<Accepted> {
  const { publicKeys } = options;
  const ask = async (keys: readonly string[]): Promise<FirmwareMetadata> =>
    parseMetadata(await queryFwup(options, ["-m", ...keys, ...args], stdin));
  if (publicKeys === undefined) return { metadata: await ask([]), publicKeys: [] };
  const { answer, keys } = await byTens(publicKeys, async (ten) => ask(keyArguments(ten)));
  return { metadata: answer, publicKeys: keys };
}

/** An archive's metadata together with its bytes, from the first on. */
export interface Peeked extends Accepted {
  readonly stream: PeekedStream;
}

/** Can be read once, or ended unread with `return`; both end the source. */
export interface PeekedStream extends AsyncIterableIterator<Uint8Array> {
  return(): Promise<IteratorReturnResult<undefined>>;
}

/**
 * Reads the metadata at the head of a stream and gives the stream back whole.
 * @throws Failure as {@link readMetadataFromHead}; what `source` throws
 */
export async function peekMetadata(
  options: MetadataOptions,
  source: AsyncIterable<Uint8Array>,
): Promise<Peeked> {
  const iterator = source[Symbol.asyncIterator]();
  try {
    const head = await readHead(iterator);
    return { ...(await readMetadataFromHead({ ...options, head })), stream: replay(head, iterator) };
  } catch (error) {
    await iterator.return?.();
    throw error;
  }
}

async function readHead(iterator: AsyncIterator<Uint8Array>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  while (size < METADATA_HEAD_BYTES) {
    const next = await iterator.next();
    if (next.done === true) break;
    chunks.push(Buffer.from(next.value)); // a copy: the chunk may be overwritten once the next is asked for
    size += next.value.length;
  }
  return Buffer.concat(chunks);
}

/** Not a generator: the `return` of one that was never read would end nothing. */
function replay(head: Uint8Array, iterator: AsyncIterator<Uint8Array, unknown>): PeekedStream {
  let first: Uint8Array | undefined = head;
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      if (first === undefined) return iterator.next();
      const value = first;
      first = undefined;
      return { done: false, value };
    },
    async return() {
      first = undefined;
      await iterator.return?.();
      return { done: true, value: undefined };
    },
  };
}

/** The metadata that the hub announced; null and empty values are not compared. */
export type AnnouncedMetadata = {
  readonly [key in (typeof COMPARED)[number]]?: string | null | undefined;
};

/** Characters; meta.conf has room for 50 000, and the hub gets this text. */
const MAX_SHOWN = 256;
const COMPARED = ["uuid", "product", "version", "platform", "architecture"] as const;

/** Compares the archive with its announcement. @returns one text for each difference */
export function compareWithAnnounced(metadata: FirmwareMetadata, announced: AnnouncedMetadata): string[] {
  return COMPARED.flatMap((key) => {
    const expected = announced[key] ?? "";
    const actual = metadata[key] ?? "";
    if (expected === "" || expected === actual) return [];
    return [
      `${key} is ${JSON.stringify(shortened(actual, MAX_SHOWN))}, announced was ${JSON.stringify(expected)}`,
    ];
  });
}
