/**
 * The topic `console` on the stand-in hub: it keeps the text that the device writes, and knows the events of
 * files.
 */
import { crash, isMap } from "../crash.ts";
import type { Channel, ChannelContext } from "./channel.ts";

const SCROLLBACK_LINES = 1024;
const FILE_EVENTS: readonly unknown[] = ["file-data/start", "file-data", "file-data/stop"];

/** Keeps the device's output. An event that the hub does not know crashes the channel. */
export function joinConsole({ record }: ChannelContext): Channel {
  record.console = "";
  return {
    response: {},
    afterJoin: () => undefined,
    handle(event, payload) {
      if (event === "up") {
        if (!isMap(payload) || typeof payload["data"] !== "string") crash("up without data");
        const lines = (record.console + payload["data"]).split("\n");
        record.console = lines.slice(-SCROLLBACK_LINES).join("\n");
      } else if (!FILE_EVENTS.includes(event)) {
        crash("unknown event");
      }
      return undefined;
    },
    close: () => undefined,
  };
}
