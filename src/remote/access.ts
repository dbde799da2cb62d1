/**
 * Everything that people at the hub can do on the board themselves: the console with its files, support
 * scripts, and the local shell. What the configuration does not allow is not constructed at all, so that no
 * message of the hub can reach it.
 */
import type { Config } from "../config/schema.ts";
import { openForPeers } from "../control/peer-files.ts";
import type { SocketFile } from "../control/socket-file.ts";
import type { Extension } from "../extensions/extension.ts";
import type { BoardFirmware } from "../firmware/board-firmware.ts";
import type { HubLink } from "../hub/link.ts";
import type { Log } from "../platform/log.ts";
import type { World } from "../platform/world.ts";
import { ConsoleTopic } from "./console.ts";
import { localShell } from "./local-shell.ts";
import { Scripts } from "./scripts.ts";
import { terminalBackendFinder } from "./terminal-backends.ts";

export interface RemoteAccessOptions {
  readonly config: Pick<Config, "console" | "scripts" | "extensions">;
  readonly identifier: string;
  readonly firmware: Pick<BoardFirmware, "running">;
  readonly link: HubLink;
  /** Decides which files may be sent to the hub: those that all of its peers may read. */
  readonly socket: SocketFile;
  readonly world: World;
  readonly log: Log;
}

export class RemoteAccess {
  /** Undefined when it is not enabled. */
  readonly console: ConsoleTopic | undefined;
  readonly scripts: Scripts;
  /** Undefined when it is not enabled. */
  readonly localShell: Extension | undefined;

  constructor(options: RemoteAccessOptions) {
    const { config, identifier, firmware, link, socket, world } = options;
    const log = options.log.scope("console");
    const terminalBackend = terminalBackendFinder({ world, log });
    this.console = config.console.enabled
      ? new ConsoleTopic({
          config: config.console,
          link,
          openFile: async (path) => openForPeers(path, socket),
          terminalBackend,
          world,
          log,
        })
      : undefined;
    this.scripts = new Scripts({
      config: config.scripts,
      environment: () => ({
        HUBLINK_IDENTIFIER: identifier,
        HUBLINK_FIRMWARE_UUID: firmware.running?.uuid ?? "",
        HUBLINK_FIRMWARE_PRODUCT: firmware.running?.product ?? "",
        HUBLINK_FIRMWARE_VERSION: firmware.running?.version ?? "",
        HUBLINK_SLOT: firmware.running?.slot ?? "",
      }),
      world,
      log: options.log.scope("scripts"),
    });
    this.localShell = config.extensions.localShell
      ? localShell({
          config: config.console,
          terminalBackend,
          confirm: async (timeoutMs) => link.confirm(timeoutMs),
          world,
        })
      : undefined;
  }

  async stop(): Promise<void> {
    await Promise.all([this.console?.stop(), this.scripts.stop()]);
  }
}
