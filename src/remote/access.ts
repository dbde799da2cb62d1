import type { Config } from "../config/schema.ts";
import type { Extension } from "../extensions/extension.ts";
import type { BoardFirmware } from "../firmware/board-firmware.ts";
import type { ScriptResult } from "../hub/device-messages.ts";
import type { HubLink } from "../hub/link.ts";
import type { Clock } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";
import { type ConsoleTopic, type ConsoleTopicOptions, createConsoleTopic } from "./console.ts";
import { localShell } from "./local-shell.ts";
import { createScripts, type Scripts } from "./scripts.ts";
import { terminalWayFinder } from "./terminal-ways.ts";

export interface RemoteAccessOptions {
  readonly config: Pick<Config, "console" | "scripts" | "extensions">;
  readonly identifier: string;
  readonly firmware: BoardFirmware;
  readonly link: HubLink;
  readonly onUploadProgress: ConsoleTopicOptions["onUploadProgress"];
  readonly answerScript: (result: ScriptResult) => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** What the hub's users may do on the board themselves, as far as the configuration lets them. */
export interface RemoteAccess {
  /** Undefined when it is not enabled. */
  readonly console: ConsoleTopic | undefined;
  readonly scripts: Scripts;
  /** Undefined when it is not enabled. */
  readonly localShell: Extension | undefined;
  stop(): Promise<void>;
}

export function createRemoteAccess(options: RemoteAccessOptions): RemoteAccess {
  const { config, link, clock, firmware } = options;
  const log = options.log.scope("console");
  const terminalWay = terminalWayFinder({ clock, log });
  const console = config.console.enabled
    ? createConsoleTopic({
        config: config.console,
        link,
        way: terminalWay,
        onUploadProgress: options.onUploadProgress,
        clock,
        log,
      })
    : undefined;
  const scripts = createScripts({
    config: config.scripts,
    environment: () => ({
      HUBLINK_IDENTIFIER: options.identifier,
      HUBLINK_FIRMWARE_UUID: firmware.running?.uuid ?? "",
      HUBLINK_FIRMWARE_PRODUCT: firmware.running?.product ?? "",
      HUBLINK_FIRMWARE_VERSION: firmware.running?.version ?? "",
      HUBLINK_SLOT: firmware.running?.slot ?? "",
    }),
    answer: options.answerScript,
    clock,
    log: options.log.scope("scripts"),
  });
  return {
    console,
    scripts,
    localShell: config.extensions.localShell
      ? localShell({
          config: config.console,
          way: terminalWay,
          confirm: async (timeoutMs) => link.confirm(timeoutMs),
          clock,
        })
      : undefined,
    async stop() {
      await Promise.all([console?.stop(), scripts.stop()]);
    },
  };
}
