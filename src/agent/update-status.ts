import type { UpdateNews } from "../firmware/update.ts";
import type { UpdateStatus } from "../hub/device-messages.ts";

/** What the hub is told of the way of its update. */
export function statusOf(
  news: Exclude<UpdateNews, { type: "progress" }>,
  networkInterface: string | undefined,
): UpdateStatus {
  if (news.type !== "ended") {
    // The interface of the link to the hub: the download has made no connection yet, and NervesHub takes
    // the interface with `started` only. A board with two ways out at once may name the other one.
    if (news.type === "received" || networkInterface === undefined) return { status: news.type };
    return { status: news.type, downloader_network_interface: networkInterface };
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
