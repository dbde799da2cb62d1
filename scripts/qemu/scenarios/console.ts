import type { Board, Scenario } from "../board.ts";
import { patience } from "../patience.ts";

const CONTENT = Buffer.alloc(100_000, "hublink\n");
const PIECE_BYTES = 1024;
const STEP_MS = 120_000;

/** The hub opens a shell on the board, resizes its window, and exchanges a file in both directions. */
export const remoteConsole: Scenario = {
  board: { config: { console: { enabled: true, upload_dir: "/data/uploads" } } },
  async play(board) {
    board.powerOn();
    await board.boots("a", "1.0.0");
    const shell = openConsole(board);

    shell.send("window_size", { height: 33, width: 99 });
    await shell.shows(/[#$] /);
    shell.type("busybox stty size; cat /etc/version\r");
    await shell.shows(/33 99\s+1\.0\.0/);
    board.say("a shell on the board, on a terminal of 33 rows and 99 columns");
    shell.send("window_size", { height: 50, width: 132 });
    shell.type("busybox stty size\r");
    await shell.shows(/50 132/);
    board.say("its window is made larger: 50 rows, 132 columns");
    // While the shell still edits its line, a Ctrl-C would not be a signal: wait for the command's own output.
    shell.type("echo as''leep; sleep 1000\r");
    await shell.shows(/asleep\r\n/);
    shell.type("\u0003");
    await shell.shows(/\^C\s+.*[#$] /);
    board.say("Ctrl-C ends a sleep");

    sendFile(board);
    await shell.shows(/received to-the-board\.txt, 100000 bytes, in \/data\/uploads/);
    board.say("a file of 100000 bytes is sent to the board");
    shell.type("hublink upload /data/uploads/to-the-board.txt --config /data/etc/config.toml\r");
    await board.message("file-data/stop");
    const pieces = board.device.received.flatMap(({ event, payload }) =>
      event === "file-data" ? [Buffer.from((payload as { data: string }).data, "base64")] : [],
    );
    if (!Buffer.concat(pieces).equals(CONTENT)) throw new Error("the file came back as another one");
    board.say("hublink upload sends it back: it is the same");
  },
};

/** The hub's end of the console. */
function openConsole({ hub, device }: Board) {
  let read = 0;
  const send = (event: string, payload: object): void =>
    hub.send(device.identifier, "console", event, payload);
  return {
    send,
    type: (data: string) => send("dn", { data }),
    /** Waits until the shell shows this, after the text that the last call found. */
    async shows(pattern: RegExp): Promise<void> {
      const unread = (): string => device.console.slice(read);
      await hub
        .until(() => pattern.test(unread()), patience(STEP_MS))
        .catch((error: unknown) => {
          throw new Error(`the console does not show ${pattern.source}, but ${JSON.stringify(unread())}`, {
            cause: error,
          });
        });
      const [shown = ""] = pattern.exec(unread()) ?? [];
      read += unread().indexOf(shown) + shown.length;
    },
  };
}

function sendFile({ hub, device }: Board): void {
  const filename = "to-the-board.txt";
  const send = (event: string, payload: object): void =>
    hub.send(device.identifier, "console", event, { filename, ...payload });
  send("file-data/start", {});
  for (let chunk = 0; chunk * PIECE_BYTES < CONTENT.length; chunk += 1) {
    const piece = CONTENT.subarray(chunk * PIECE_BYTES, (chunk + 1) * PIECE_BYTES);
    send("file-data", { chunk, data: piece.toString("base64") });
  }
  send("file-data/stop", {});
}
