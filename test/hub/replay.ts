/** Plays transcripts of the real NervesHub against the stand-in, and compares the answers. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { isMap } from "./crash.ts";
import { connect, type RawDevice } from "./client.ts";
import { fixture } from "../fixtures.ts";

/** A line of a transcript of the real server. */
export interface Line {
  /** `->` from the device, `<-` to it, `UPGRADE`, `CLOSE`; anything else is a remark. */
  readonly kind: string;
  readonly text: string;
}

/** The operator's actions in a recording, each by a part of the remark that stands for it. */
export type Actions = readonly (readonly [remark: string, act: () => unknown])[];

export async function readTranscript(name: string): Promise<readonly Line[]> {
  const text = await readFile(fixture(`hub-transcripts/${name}`), "utf8");
  return text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => {
      const [, kind = "", rest = ""] = /^\s*[\d.]+ (->|<-|\S+) ?(.*)$/.exec(line) ?? [];
      return ["->", "<-", "UPGRADE", "CLOSE"].includes(kind)
        ? { kind, text: rest }
        : { kind: "remark", text: line };
    });
}

/**
 * Plays the device's part of a transcript against a hub. The hub must give the answers of the real server, all
 * of them and no others; they are compared topic by topic. Heartbeats that this function adds mark the end of
 * the answers to a frame.
 * @param options.longFrames frames that the recording cut short, by a part of the remark before them
 * @param options.operator gets the frames of the operator's page (topics `user:…`)
 */
export async function replay(
  lines: readonly Line[],
  options: {
    readonly open: () => Promise<RawDevice>;
    readonly actions: Actions;
    readonly longFrames?: ReadonlyMap<string, unknown>;
    readonly operator?: (event: string, payload: unknown) => void;
  },
): Promise<void> {
  const sockets: RawDevice[] = [];
  let device: RawDevice | undefined;
  let expected: unknown[] = [];
  let seen = 0;
  let compared = 0;
  let longFrame: unknown;
  let isOperators = false;

  const compare = (actual: readonly unknown[]): void => {
    assert.deepEqual(byTopic(actual), byTopic(expected));
    compared += expected.length;
    expected = [];
  };
  const sync = async (): Promise<void> => {
    if (device === undefined) return;
    await device.beat();
    const from = seen;
    const { frames } = device;
    seen = frames.length;
    compare(frames.slice(from));
  };

  let previous = "";
  for (const { kind, text } of lines) {
    if (isUserTopic(text)) {
      isOperators = true;
      if (kind === "->") {
        const [, , , event, payload] = JSON.parse(text) as unknown[];
        await sync();
        if (event !== "phx_join") options.operator?.(String(event), payload);
      }
      continue;
    }
    switch (kind) {
      case "->":
        if (previous === "<-") await sync();
        if (text.startsWith("BIN ")) device?.sendRaw(Buffer.from(text.slice(4), "hex"));
        else device?.sendRaw(longFrame === undefined ? text : JSON.stringify(longFrame));
        longFrame = undefined;
        break;
      case "<-":
        expected.push(JSON.parse(text));
        break;
      case "UPGRADE":
        if (isNextUsers(lines, text)) break;
        await sync();
        device = await options.open();
        sockets.push(device);
        seen = 0;
        break;
      case "CLOSE": {
        const code = Number(text);
        if (code === 1000 && isOperators && lines.some((line) => line.text.includes("API manual"))) {
          isOperators = false; // the operator's page went away, not the device
          break;
        }
        if (code === 1000) await sync();
        if (code === 1000) device?.close();
        const closing = sockets.shift();
        assert.equal(await closing?.closed(), code);
        if (closing !== device) break;
        if (code !== 1000) compare(closing?.frames.slice(seen) ?? []);
        device = undefined;
        break;
      }
      default:
        if (!isStep(text) && !options.actions.some(([remark]) => text.includes(remark))) break;
        await sync();
        for (const [remark, act] of options.actions) if (text.includes(remark)) await act();
        for (const [remark, frame] of options.longFrames ?? []) {
          if (text.includes(remark)) longFrame = frame;
        }
    }
    previous = kind;
  }
  await sync();
  device?.close();
  const answers = lines.filter(({ kind, text }) => kind === "<-" && !isUserTopic(text));
  assert.equal(compared, answers.length);
}

/** Frames by their topic, in order; the first requests of extensions come in any. */
function byTopic(frames: readonly unknown[]): Record<string, unknown[]> {
  const topics: Record<string, unknown[]> = {};
  for (const frame of frames) {
    assert.ok(Array.isArray(frame));
    (topics[String(frame[2])] ??= []).push(plain(frame as unknown[]));
  }
  topics["extensions"]?.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  return topics;
}

/** A frame without what depends on the recording's files. */
function plain([joinRef, ref, topic, event, payload]: unknown[]): unknown[] {
  if (event !== "update" || !isMap(payload)) return [joinRef, ref, topic, event, payload];
  const isSha256 = (text: unknown): boolean => /^[0-9A-F]{64}$/.test(String(text));
  const { partials_checksums: parts } = payload;
  const shape = {
    ...payload,
    firmware_url: /^http.*\.fw/.test(String(payload["firmware_url"])),
    size: typeof payload["size"],
    checksum: isSha256(payload["checksum"]),
    partials_checksums: Array.isArray(parts) && parts.every(isSha256),
    deployment_id: typeof payload["deployment_id"],
  };
  return [joinRef, ref, topic, event, shape];
}

/** A remark that begins something, rather than noting what the operator's API said. */
function isStep(text: string): boolean {
  return /(---|===) /.test(text);
}

function isUserTopic(text: string): boolean {
  return /^\[[^,]*,[^,]*,"user:/.test(text);
}

/** Whether the socket that opens here belongs to the operator's page. */
function isNextUsers(lines: readonly Line[], upgrade: string): boolean {
  const index = lines.findIndex(({ text }) => text === upgrade);
  return isUserTopic(lines[index + 1]?.text ?? "");
}

/** A device on a hub. @throws when it was refused */
export async function open(...target: Parameters<typeof connect>): Promise<RawDevice> {
  const { device, status, error, body } = await connect(...target);
  assert.ok(device, `refused: ${status} ${error} ${body}`);
  return device;
}
