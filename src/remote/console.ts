/**
 * The board's side of the hub's topic `console`: one shell, and files in both directions. The shell survives
 * the loss of the connection, so that a person can restart the network from it; it ends
 * when nothing is typed for `console.idle_timeout_s`.
 */
import { EventEmitter } from "node:events";
import type { FileHandle } from "node:fs/promises";
import type * as v from "valibot";
import type { Config } from "../config/schema.ts";
import type { ProgressPayload } from "../control/messages.ts";
import type { Channel } from "../hub/channel.ts";
import { CONSOLE_JOIN_PAYLOAD, type ConsoleMessage, parseConsoleMessage } from "../hub/console-messages.ts";
import type { HubLink } from "../hub/link.ts";
import { Failure } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { printable } from "../platform/text.ts";
import type { World } from "../platform/world.ts";
import { accountOf } from "./account.ts";
import { sendFile } from "./file-sent.ts";
import { ReceivedFiles } from "./files-received.ts";
import { RemoteShell, type ShellEnd } from "./shell.ts";
import type { TerminalBackend } from "./terminal.ts";

export interface ConsoleTopicOptions {
  readonly config: Config["console"];
  readonly link: Pick<HubLink, "channel">;
  /** Opens a file that is to be sent, if the application that asks for it may have it. */
  readonly openFile: (path: string) => Promise<FileHandle>;
  readonly terminalBackend: () => Promise<TerminalBackend>;
  readonly world: World;
  readonly log: Log;
}

interface ConsoleEvents {
  /** A file is being sent to the hub. */
  uploadProgress: [progress: v.InferOutput<typeof ProgressPayload>];
}

/** Joins the topic and stays joined. */
export class ConsoleTopic extends EventEmitter<ConsoleEvents> {
  readonly #config: Config["console"];
  readonly #maxBytes: number;
  readonly #openFile: ConsoleTopicOptions["openFile"];
  readonly #log: Log;
  readonly #files: ReceivedFiles;
  readonly #shell: RemoteShell;
  readonly #channel: Channel;
  readonly #stopping = new AbortController();
  #uploading = false;
  #warned = false;

  constructor({ config, link, openFile, terminalBackend, world, log }: ConsoleTopicOptions) {
    super();
    this.#config = config;
    this.#maxBytes = config.maxUploadMib * 1024 * 1024;
    this.#openFile = openFile;
    this.#log = log;
    this.#files = new ReceivedFiles({
      dir: config.uploadDir,
      maxBytes: this.#maxBytes,
      owner: () => accountOf(config.user),
      clock: world.clock,
    });
    this.#files.on("notice", (text) => this.#notify(text));
    this.#shell = new RemoteShell({
      config,
      terminalBackend,
      sink: {
        send: (text) => this.#channel.push("up", { data: text }),
        confirm: async (timeoutMs) => this.#channel.confirm(timeoutMs),
      },
      world,
      log,
    });
    this.#shell.on("ended", (end) => this.#shell.show(`\r\n[hublink] ${this.#describe(end)}\r\n`));
    this.#channel = link.channel("console", {
      joinPayload: () => CONSOLE_JOIN_PAYLOAD,
      onJoined: () => {
        log.info("joined the hub's console");
        this.#shell.setConnected(true);
      },
      onLost: () => {
        this.#shell.setConnected(false);
        this.#files.abort("the connection to the hub was lost");
      },
      onMessage: (event, payload) => this.#handle(parseConsoleMessage(event, payload)),
    });
  }

  get joined(): boolean {
    return this.#channel.joined;
  }

  /** Whether a shell runs. */
  get running(): boolean {
    return this.#shell.running;
  }

  /**
   * Sends a file to the people who have the console open.
   * @throws Failure; the signal's reason
   */
  async upload(path: string, signal: AbortSignal): Promise<{ name: string; sizeBytes: number }> {
    if (!this.#channel.joined) {
      throw new Failure("not_connected", "the board has not joined the hub's console; see hublink status");
    }
    // The hub's page puts together one file at a time.
    if (this.#uploading) throw new Failure("unavailable", "another file is being sent; wait for it");
    this.#uploading = true;
    try {
      return await sendFile({
        path,
        open: this.#openFile,
        maxBytes: this.#maxBytes,
        push: (event, payload) => this.#channel.push(event, payload),
        confirm: async (timeoutMs) => this.#channel.confirm(timeoutMs),
        onProgress: (bytes, total) => {
          const percent = Math.floor((bytes * 100) / total);
          this.emit("uploadProgress", { stage: "sending", percent, bytes, total_bytes: total });
        },
        signal: AbortSignal.any([this.#stopping.signal, signal]),
      });
    } finally {
      this.#uploading = false;
    }
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Failure("stopped", "the agent stops"));
    this.#files.abort("the agent stops");
    await Promise.all([this.#shell.stop(), this.#files.settled()]);
  }

  #handle(message: ConsoleMessage): void {
    switch (message.type) {
      case "keys":
        this.#shell.start();
        this.#shell.type(message.keys);
        break;
      case "window-size":
        this.#shell.resize(message.size);
        this.#shell.start();
        break;
      case "restart":
        this.#notify("the shell is restarted");
        this.#shell.restart();
        break;
      case "file-start":
        this.#files.begin(message.name);
        break;
      case "file-piece":
        this.#files.add(message.name, message.number, message.piece);
        break;
      case "file-stop":
        this.#files.complete(message.name);
        break;
      case "malformed":
      case "unknown":
        if (!this.#warned) this.#log.warn(`ignored a message of the hub's console: ${message.type}`);
        this.#warned = true; // only once: a flood of them would bury the rest of the log
        break;
    }
  }

  #notify(text: string): void {
    this.#log.info(text);
    this.#shell.show(`\r\n[hublink] ${text}\r\n`);
  }

  #describe(end: ShellEnd): string {
    switch (end.kind) {
      case "exited":
        return `the shell has ended (${end.exitCode ?? "by a signal"}); a key starts another`;
      case "idle":
        return `nothing was typed for ${this.#config.idleTimeoutMs / 1000} s: the shell is ended; a key starts another`;
      case "failed":
        return `no shell: ${printable(end.reason)}`;
    }
  }
}
