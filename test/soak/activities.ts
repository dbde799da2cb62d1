/** What happens to the board of a soak. Each activity ends when its effect is seen at the hub, so none is skipped. */
import { rm } from "node:fs/promises";
import { controlPeer } from "../agent/control-peer.ts";
import { IDENTIFIER } from "../agent/factory.ts";
import { generateSigningKey } from "../fwup/archive.ts";
import * as faults from "../hub/faults.ts";
import type { Random } from "../torture/random.ts";
import type { SoakBoard } from "./board.ts";

/** Longer than an answer takes on a busy machine. */
const AGAIN_MS = 5000;

/** Does one thing. */
type Activity = (board: SoakBoard, random: Random, number: number) => Promise<void>;

/** All activities; one of `weight` 3 comes three times as often as one of 1. */
export const ACTIVITIES = {
  connections: { weight: 8, run: loseConnection },
  consoles: { weight: 2, run: useConsole },
  shells: { weight: 1, run: useLocalShell },
  scripts: { weight: 3, run: runScript },
  uploads: { weight: 1, run: upload },
  receptions: { weight: 1, run: receive },
  updates: { weight: 2, run: failUpdate },
  extensions: { weight: 1, run: attachAgain },
  reloads: { weight: 0.25, run: reload },
} as const satisfies Readonly<Record<string, { weight: number; run: Activity }>>;

export type ActivityName = keyof typeof ACTIVITIES;

/** An activity by its weight. */
export function pickActivity(random: Random): ActivityName {
  const names = Object.keys(ACTIVITIES) as ActivityName[];
  let left = random.next() * names.reduce((sum, name) => sum + ACTIVITIES[name].weight, 0);
  return names.find((name) => (left -= ACTIVITIES[name].weight) < 0) ?? "connections";
}

async function loseConnection(board: SoakBoard, random: Random): Promise<void> {
  const { hub } = board;
  board.forget();
  hub.faults.clear();
  const coming = random.pick([
    undefined,
    faults.refuseUpgrade(503),
    faults.refuseUpgrade(403),
    faults.resetAtConnect(),
    faults.acceptThenClose(),
    faults.garbageFrame(),
  ]);
  if (coming !== undefined) hub.faults.add(coming, random.int(1, 3));
  random.pick([
    () => hub.terminate(IDENTIFIER),
    () => hub.disconnect(IDENTIFIER, 1001),
    () => hub.disconnect(IDENTIFIER, 1012),
  ])();
  await board.untilBack();
}

async function useConsole(board: SoakBoard, random: Random, number: number): Promise<void> {
  const send = (event: string, payload: unknown): void =>
    board.hub.send(IDENTIFIER, "console", event, payload);
  board.forgetMessages();
  if (random.chance(0.5)) send("restart", {});
  send("window_size", { height: random.int(20, 60), width: random.int(80, 200) });
  const lines = random.int(10, 5000);
  const keys = `seq ${lines}; echo en$((1))d-${number}\r`;
  await sending(
    board,
    () => send("dn", { data: keys }),
    () => board.shown("console", "up").includes(`en1d-${number}`),
    "the shell\'s output",
  );
}

async function useLocalShell(board: SoakBoard, random: Random, number: number): Promise<void> {
  const send = (event: string, payload: unknown): void =>
    board.hub.send(IDENTIFIER, "extensions", `local_shell:${event}`, payload);
  board.forgetMessages();
  const keys = `seq ${random.int(10, 1000)}; echo en$((1))d-${number}\r`;
  await sending(
    board,
    () => {
      send("request_shell", {}); // not heard before the extension is attached
      send("shell_input", { data: keys });
    },
    () => board.shown("extensions", "local_shell:shell_output").includes(`en1d-${number}`),
    "the shell\'s output",
  );
  send("kill_shell", {});
}

/** Sends again and again: a shell that has just started loses what is typed, and a broken connection what is sent. */
async function sending(
  board: SoakBoard,
  send: () => void,
  condition: () => boolean,
  what: string,
): Promise<void> {
  send();
  const timer = setInterval(() => board.record.online && send(), AGAIN_MS);
  try {
    await board.until(condition, what);
  } finally {
    clearInterval(timer);
  }
}

async function runScript(board: SoakBoard, random: Random, number: number): Promise<void> {
  const kib = random.pick([1, 16, 200]);
  const text = `head -c ${kib * 1024} /dev/zero | tr '\\0' x; echo; echo done-${number}; exit ${random.int(0, 2)}`;
  board.forgetMessages();
  const isAnswer = (payload: unknown): boolean =>
    String((payload as { output?: unknown }).output).includes(`done-${number}`);
  await sending(
    board,
    () => board.hub.send(IDENTIFIER, "device", "scripts/run", { text, ref: String(number) }),
    () => board.record.received.some(({ event, payload }) => event === "scripts/run" && isAnswer(payload)),
    "the script's answer",
  );
}

/** A file from the board to the hub. */
async function upload(board: SoakBoard, random: Random, number: number): Promise<void> {
  board.forgetMessages();
  const path = await board.file(`upload-${number}`, random.int(1, 4096));
  const peer = await controlPeer(board.controlSocket, { role: "observer", subscribe: [] });
  try {
    await peer.next();
    const { error } = await peer.request("upload", { path });
    if (error !== undefined) throw new Error(`upload: ${JSON.stringify(error)}`);
  } finally {
    await peer.close();
    await rm(path);
  }
}

/** A file from the hub to the board. */
async function receive(board: SoakBoard, random: Random): Promise<void> {
  board.forgetMessages();
  const filename = "received";
  const send = (event: string, payload: object): void =>
    board.hub.send(IDENTIFIER, "console", event, { filename, ...payload });
  const data = Buffer.alloc(48 * 1024, 1).toString("base64");
  send("file-data/start", { uploaded_by: 1 });
  for (let chunk = 0; chunk < random.int(1, 32); chunk += 1) send("file-data", { chunk, data });
  send("file-data/stop", {});
  await board.until(() => /received received/.test(board.shown("console", "up")), "the file is received");
}

/** An update that fails: by its server, by its bytes, or by its signature, early or at the very end. */
async function failUpdate(board: SoakBoard, random: Random, number: number): Promise<void> {
  const { hub, factory } = board;
  board.forget();
  hub.faults.clear();
  const foreign = random.chance(0.2);
  const made = await factory.firmware(`2.0.${number}`, {
    rootfs: { sizeBytes: random.int(1, 4) * 1024 * 1024 - 4096, seed: String(number) },
    ...(foreign && { privateKey: generateSigningKey().privateKey }),
  });
  const release = await hub.publish(made.path, made.meta);
  if (random.chance(0.3)) hub.faults.add(faults.resetAfter(random.int(0, release.sizeBytes)), 2);
  if (random.chance(0.2)) hub.faults.add(faults.corruptByte(random.int(0, release.sizeBytes - 1)), 2);
  if (random.chance(0.1)) hub.faults.add(faults.refuseDownload(500));
  const checksum = random.chance(0.2) ? release.checksum : "0".repeat(64);
  const partial = random.chance(0.5) ? {} : { partials_checksums: null };
  // Without a fault of its own the file would be installed, and the agent would wait for its reboot.
  hub.pushUpdate(IDENTIFIER, release, { ...partial, checksum: foreign ? checksum : "0".repeat(64) });
  if (random.chance(0.3)) {
    // Before that, the message itself could be lost with the connection.
    await board.until(() => board.record.statuses.length > 0, "the update is received");
    hub.terminate(IDENTIFIER);
    await board.untilBack();
  }
  await board.until(
    () => board.record.statuses.some(({ status }) => status === "failed" || status === "ignored"),
    "the update has failed",
  );
  hub.faults.clear();
  await rm(made.path);
}

async function attachAgain(board: SoakBoard): Promise<void> {
  const reports = ["health:report", "geo:location:update", "network_identity:report"];
  board.forgetMessages();
  await sending(
    board,
    () => {
      for (const event of ["detach", "attach"])
        board.hub.send(IDENTIFIER, "extensions", event, { extensions: "all" });
    },
    () => reports.every((report) => board.record.received.some(({ event }) => event === report)),
    "the extensions' reports",
  );
}

async function reload(board: SoakBoard): Promise<void> {
  board.forget();
  board.reload();
  await board.untilBack();
}
