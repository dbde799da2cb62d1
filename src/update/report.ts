import { type FirmwareSummary, summaryOf } from "../control/messages.ts";
import type { ControlServer } from "../control/server.ts";
import type { UpdateStatus } from "../hub/device-messages.ts";
import type { DeviceTopic } from "../hub/device-topic.ts";
import type { Offer, UpdateNews } from "./engine.ts";

export interface UpdateReportOptions {
  readonly publish: ControlServer["publish"];
  readonly hub: () => Pick<DeviceTopic, "reportProgress" | "reportStatus">;
  /** Whether nobody is told any more how updates end. */
  readonly isStopping: () => boolean;
  /** The hub's firmware is in the other slot. */
  readonly onReady: (installed: FirmwareSummary) => void;
}

/** Tells the hub and the control socket how updates go. */
export interface UpdateReport {
  /** The newest word on an update, progress aside. */
  readonly last: { readonly offer: Offer; readonly news: UpdateNews } | undefined;
  readonly tell: (offer: Offer, news: UpdateNews) => void;
}

export function createUpdateReport({ publish, hub, isStopping, onReady }: UpdateReportOptions): UpdateReport {
  let last: UpdateReport["last"];
  return {
    get last() {
      return last;
    },
    tell(offer, news) {
      const fromHub = offer.origin === "hub";
      if (news.type === "progress") {
        const { stage, percent, bytes } = news;
        publish("update_progress", { stage, percent, bytes, total_bytes: offer.sizeBytes });
        if (fromHub) hub().reportProgress(percent, stage);
        return;
      }
      last = { offer, news };
      if (isStopping()) return;
      if (fromHub) hub().reportStatus(offer.announced.uuid ?? null, statusOf(news));
      if (news.type !== "ended") return;
      const { outcome } = news;
      if (outcome.result === "installed") {
        const installed = summaryOf(outcome.firmware);
        publish("update_installed", { firmware: installed });
        if (fromHub) onReady(installed);
      } else if (outcome.result === "failed") {
        publish("update_failed", { reason: outcome.reason });
      }
    },
  };
}

/** What the hub is told of the way of its update. */
function statusOf(news: Exclude<UpdateNews, { type: "progress" }>): UpdateStatus {
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
