import type { UpdateNews } from "./engine.ts";
import type { UpdateStatus } from "../hub/device-messages.ts";

/** What the hub is told of the way of its update. */
export function statusOf(news: Exclude<UpdateNews, { type: "progress" }>): UpdateStatus {
  if (news.type === "received") return { status: "received" };
  if (news.type === "started") {
    const { networkInterface: name } = news;
    return { status: "started", ...(name !== undefined && { downloader_network_interface: name }) };
  }
  const { outcome } = news;
  switch (outcome.result) {
    case "installed":
      return { status: "completed" };
    case "rescheduled":
      return { status: "rescheduled", delay_for: Math.round(outcome.delayMs), reason: outcome.reason };
    case "failed":
    case "ignored":
      return { status: outcome.result, reason: outcome.reason };
  }
}
