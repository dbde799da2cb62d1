/**
 * The messages of topic `console` (protocol 5), parsed once here and trusted inside. A message that can't be
 * parsed is reported as such and never thrown: one bad key press must not end the console.
 */
import * as v from "valibot";
import { CONSOLE_VERSION, DEVICE_API_VERSION } from "./device-messages.ts";

/** A terminal is neither smaller nor larger than this, even if the hub asks for it. */
const Cells = v.pipe(
  v.number(),
  v.integer(),
  v.transform((count) => Math.min(Math.max(count, 1), 1000)),
);

/** Both spellings are on the wire: the console's page sends the first, the local shell's the second. */
export const WindowSize = v.pipe(
  v.union([v.object({ height: Cells, width: Cells }), v.object({ rows: Cells, cols: Cells })]),
  v.transform((size) =>
    "height" in size ? { rows: size.height, columns: size.width } : { rows: size.rows, columns: size.cols },
  ),
);

const Keys = v.object({ data: v.string() });
const FileName = v.object({ filename: v.string() });
const FilePiece = v.object({
  filename: v.string(),
  chunk: v.pipe(v.number(), v.integer(), v.minValue(0)),
  data: v.pipe(
    v.string(),
    v.base64(),
    v.transform((data) => Buffer.from(data, "base64")),
  ),
});

/** A parsed message of the hub. */
export type ConsoleMessage =
  | { readonly type: "keys"; readonly keys: string }
  | { readonly type: "window-size"; readonly size: v.InferOutput<typeof WindowSize> }
  | { readonly type: "restart" }
  | { readonly type: "file-start" | "file-stop"; readonly name: string }
  | {
      readonly type: "file-piece";
      readonly name: string;
      readonly number: number;
      readonly piece: Uint8Array;
    }
  | { readonly type: "malformed" | "unknown" };

/** Reads a message of topic `console`; never throws. */
export function parseConsoleMessage(event: string, payload: unknown): ConsoleMessage {
  switch (event) {
    case "dn":
      return parsed(Keys, payload, ({ data }) => ({ type: "keys", keys: data }));
    case "window_size":
      return parsed(WindowSize, payload, (size) => ({ type: "window-size", size }));
    case "restart":
      return { type: "restart" };
    case "file-data/start":
      return parsed(FileName, payload, ({ filename }) => ({ type: "file-start", name: filename }));
    case "file-data":
      return parsed(FilePiece, payload, ({ filename, chunk, data }) => ({
        type: "file-piece",
        name: filename,
        number: chunk,
        piece: data,
      }));
    case "file-data/stop":
      return parsed(FileName, payload, ({ filename }) => ({ type: "file-stop", name: filename }));
    default:
      return { type: "unknown" };
  }
}

function parsed<S extends v.GenericSchema>(
  schema: S,
  payload: unknown,
  build: (output: v.InferOutput<S>) => ConsoleMessage,
): ConsoleMessage {
  const result = v.safeParse(schema, payload, { abortEarly: true });
  return result.success ? build(result.output) : { type: "malformed" };
}

/** The payload of the join of topic `console`. */
export const CONSOLE_JOIN_PAYLOAD = {
  console_version: CONSOLE_VERSION,
  device_api_version: DEVICE_API_VERSION,
} as const;
