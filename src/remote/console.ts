import type * as v from "valibot";
import type { ProgressPayload } from "../control/messages.ts";
import { CONSOLE_JOIN_PAYLOAD, type ConsoleMessage, parseConsoleMessage } from "../hub/console-messages.ts";
import type { HubLink } from "../hub/link.ts";
import type { Clock } from "../platform/clock.ts";
import { Failure } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { accountOf } from "./account.ts";
import { sendFile } from "./file-sent.ts";
import { createReceivedFiles } from "./files-received.ts";
import { createRemoteShell, type ShellConfig, type ShellEnd } from "./shell.ts";
import type { TerminalWay } from "./terminal.ts";

export interface ConsoleTopicOptions {
  /** `[console]` */
  readonly config: ShellConfig & { readonly uploadDir: string; readonly maxUploadMib: number };
  readonly link: Pick<HubLink, "channel">;
  readonly way: () => Promise<TerminalWay>;
  readonly onUploadProgress: (progress: v.InferOutput<typeof ProgressPayload>) => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** The board's side of topic `console`: a shell, and files both ways. */
export interface ConsoleTopic {
  readonly joined: boolean;
  /** A shell runs. */
  readonly running: boolean;
  /**
   * Sends a file to whoever has the console open.
   * @throws Failure; the signal's reason
   */
  upload(path: string, signal: AbortSignal): Promise<{ readonly name: string; readonly sizeBytes: number }>;
  stop(): Promise<void>;
}

/** Joins the topic and stays joined. A shell survives the loss of the hub, until its idle timeout. */
export function createConsoleTopic(options: ConsoleTopicOptions): ConsoleTopic {
  const { config, clock, log } = options;
  const maxBytes = config.maxUploadMib * 1024 * 1024;
  const stopping = new AbortController();
  let uploading: Promise<unknown> | undefined;
  let warned = false;

  const say = (text: string): void => {
    log.info(text);
    shell.say(`\r\n[hublink] ${text}\r\n`);
  };
  const files = createReceivedFiles({
    dir: config.uploadDir,
    maxBytes,
    owner: () => accountOf(config.user),
    tell: say,
    clock,
  });

  const handle = (message: ConsoleMessage): void => {
    switch (message.type) {
      case "keys":
        shell.start();
        shell.type(message.keys);
        break;
      case "window-size":
        shell.resize(message.size);
        shell.start();
        break;
      case "restart":
        say("the shell is restarted");
        shell.restart();
        break;
      case "file-start":
        files.begin(message.name);
        break;
      case "file-piece":
        files.add(message.name, message.number, message.piece);
        break;
      case "file-stop":
        files.complete(message.name);
        break;
      case "malformed":
      case "unknown":
        if (!warned) log.warn(`ignored a message of the hub's console: ${message.type}`);
        warned = true; // once, so that a flood leaves the log readable
        break;
    }
  };

  const channel = options.link.channel("console", {
    joinPayload: () => CONSOLE_JOIN_PAYLOAD,
    onJoined() {
      log.info("joined the hub's console");
      shell.setConnected(true);
    },
    onLost() {
      shell.setConnected(false);
      files.abort("the connection to the hub was lost");
    },
    onMessage: (event, payload) => handle(parseConsoleMessage(event, payload)),
  });

  const shell = createRemoteShell({
    config,
    way: options.way,
    sink: {
      send: (text) => channel.push("up", { data: text }),
      confirm: async (timeoutMs) => channel.confirm(timeoutMs),
    },
    onEnded: (end) => shell.say(`\r\n[hublink] ${endText(end, config)}\r\n`),
    clock,
    log,
  });

  return {
    get joined() {
      return channel.joined;
    },
    get running() {
      return shell.running;
    },
    async upload(path, signal) {
      if (!channel.joined) {
        throw new Failure("unavailable", "the board has not joined the hub's console; see hublink status");
      }
      // The hub's page puts together one file at a time.
      if (uploading !== undefined)
        throw new Failure("unavailable", "another file is being sent; wait for it");
      const work = sendFile({
        path,
        maxBytes,
        push: (event, payload) => channel.push(event, payload),
        confirm: async (timeoutMs) => channel.confirm(timeoutMs),
        onProgress(bytes, total) {
          const percent = Math.floor((bytes * 100) / total);
          options.onUploadProgress({ stage: "sending", percent, bytes, total_bytes: total });
        },
        signal: AbortSignal.any([stopping.signal, signal]),
      });
      uploading = work.catch(() => undefined); // told to whoever asked
      try {
        return await work;
      } finally {
        uploading = undefined;
      }
    },
    async stop() {
      stopping.abort(new Failure("unavailable", "the agent stops"));
      files.abort("the agent stops");
      await Promise.all([shell.stop(), files.settled()]);
    },
  };
}

function endText(end: ShellEnd, { idleTimeoutMs }: ShellConfig): string {
  switch (end.kind) {
    case "exited":
      return `the shell has ended (${end.exitCode ?? "by a signal"}); a key starts another`;
    case "idle":
      return `nothing was typed for ${idleTimeoutMs / 1000} s: the shell is ended; a key starts another`;
    case "failed":
      return `no shell: ${end.reason}`;
  }
}
