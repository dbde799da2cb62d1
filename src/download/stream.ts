/**
 * A file over HTTP, straight to its consumer. It goes on where it was after a fault; bytes that were handed out
 * can't be taken back, so a file that changes on the server after that fails with `file_changed`.
 */
import { failedWith, Failure } from "../platform/failure.ts";
import type { ProxyChoice } from "../platform/proxy.ts";
import type { TokenBucket } from "../platform/pace.ts";
import { type FileVersion, isAnother, openHttp, requireLength, type Trusted } from "./http-file.ts";
import { type Line, requestBytes } from "./request.ts";
import { LineFault, Retries, type RetryOptions } from "./retries.ts";
import { provesItself, type Verifier } from "./verify.ts";

export interface DownloadOptions extends RetryOptions {
  readonly url: string;
  /** Where the bytes go through; the download starts, and after a fault goes on, at its `offset`. */
  readonly verifier: Verifier;
  /** Reads whom to trust instead of Node's built-in list. */
  readonly trusted?: Trusted;
  /** Bytes; shared by all that the limit is for. */
  readonly rateLimit?: TokenBucket;
  readonly proxyFor?: ProxyChoice;
  /** Which URLs may be fetched, redirects included. Default: each. */
  readonly mayFetch?: (url: URL) => boolean;
  /** Sent to the URL's own origin only, not to where it redirects. */
  readonly headers?: Readonly<Record<string, string>>;
  /** The position to stop at. Default: the file's end, and then the file is proven as a whole. */
  readonly end?: number;
}

/**
 * Fetches a file over HTTP and gives its proven bytes (see {@link Verifier}, also for how long a chunk
 * stays valid). Takes from the line only what the consumer asks for. What interrupts it is tried again
 * from the position reached on, until too many attempts in a row bring no new byte.
 * @throws Failure (`url_expired`, `download_…`, `file_changed`); VerificationFailure; the signal's reason; what `renewUrl` throws
 */
export async function* download(options: DownloadOptions): AsyncGenerator<Uint8Array, void> {
  const { verifier, signal } = options;
  signal?.throwIfAborted();
  const retries = new Retries(options, options.url, verifier.offset);
  const http = await openHttp(options);
  const fetching: Fetching = { ...options, retries, http, version: null, mixed: false };
  try {
    for (;;) {
      const { url } = retries;
      try {
        if (!isComplete(fetching)) yield* fetchRest(fetching, url);
        if (options.end === undefined) yield* proven(fetching);
        return;
      } catch (error) {
        await retries.next(error, url, verifier.offset);
      }
    }
  } finally {
    await http.close();
  }
}

interface Fetching extends Line, Pick<DownloadOptions, "end"> {
  readonly verifier: Verifier;
  /** The state of the file that the bytes so far are of; null before the first answer. */
  version: FileVersion | null;
  /** The bytes came from servers that call the file by different ETags. */
  mixed: boolean;
}

/** The end of the file, once the whole is proven. */
function* proven(fetching: Fetching): Generator<Uint8Array, void> {
  try {
    yield* fetching.verifier.end();
  } catch (error) {
    const mixedUp = fetching.mixed && fetching.verifier.expected.parts === null;
    if (!mixedUp || !failedWith(error, "checksum_wrong")) throw error;
    fetching.mixed = false;
    startOverWithin(fetching);
    throw new LineFault("the file was put together from two that differ; fetching it anew", { cause: error });
  }
}

function isComplete({ verifier, version, end }: Fetching): boolean {
  const totalBytes = end ?? verifier.expected.sizeBytes ?? version?.totalBytes ?? null;
  return totalBytes !== null && verifier.offset >= totalBytes;
}

/** One request, from the verifier's offset to the end. */
async function* fetchRest(fetching: Fetching, url: URL): AsyncGenerator<Uint8Array, void> {
  const { verifier } = fetching;
  const { offset } = verifier;
  const proves = provesItself(verifier.expected);
  const request = {
    url,
    offset,
    end: fetching.end ?? null,
    version: proves ? null : fetching.version,
    accept: (version: FileVersion, start: number) => goOnWith(fetching, start, version),
  };
  try {
    for await (const chunk of requestBytes(fetching, request)) yield* verifier.push(chunk);
  } catch (error) {
    const keeps = proves && verifier.expected.sizeBytes !== null;
    if (error instanceof LineFault && error.pastEnd && !keeps) startOverWithin(fetching);
    throw error;
  }
  const { sizeBytes } = verifier.expected;
  const endUnknown = fetching.version?.totalBytes === null && fetching.end === undefined;
  if (endUnknown && sizeBytes !== null && verifier.offset < sizeBytes) {
    throw new LineFault("the connection ended too early");
  }
}

/** The position from which the bytes to come are wanted, so that they continue those that came. */
function goOnWith(fetching: Fetching, start: number, version: FileVersion): number {
  const { verifier } = fetching;
  requireLength(version, verifier.expected);
  const differs = fetching.version !== null && isAnother(version, fetching.version);
  const changed = differs && !provesItself(verifier.expected);
  if (changed) startOverWithin(fetching);
  else fetching.mixed ||= differs;
  if (start > verifier.offset || (changed && start < verifier.offset)) {
    throw new LineFault("the file on the server has changed; going on after the last proven part");
  }
  fetching.version ??= version;
  return verifier.offset;
}

/** The file is not the one that the bytes so far are of: keeps those that are proven. */
function startOverWithin(fetching: Fetching): void {
  const { verifier } = fetching;
  fetching.version = null;
  if (verifier.expected.parts !== null) {
    verifier.dropUnproven();
  } else if (verifier.passedBytes === 0) {
    verifier.restart();
  } else {
    const text = "the file on the server has changed, and part of it is written already";
    throw new Failure("file_changed", `${text}; start the update again`);
  }
}
