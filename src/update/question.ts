import { type FirmwareSummary, summaryOf } from "../control/messages.ts";
import type { RunningFirmware } from "../firmware/slots.ts";
import type { Offer } from "./engine.ts";

/** What those who are asked about an update get to know of it; no URL, since that is signed. */
export interface UpdateQuestion {
  readonly firmware: FirmwareSummary;
  /** Bytes; null when the hub does not say. */
  readonly size: number | null;
  readonly deployment_id: number | string | null;
  /** What runs now. */
  readonly running: FirmwareSummary | null;
}

export function updateQuestion(offer: Offer, running: RunningFirmware | undefined): UpdateQuestion {
  const { uuid, version, product, platform, architecture } = offer.announced;
  return {
    firmware: summaryOf({
      uuid: uuid ?? "",
      version: version ?? "",
      product: product ?? "",
      platform: platform ?? "",
      architecture: architecture ?? "",
    }),
    size: offer.sizeBytes,
    deployment_id: offer.deploymentId,
    running: running === undefined ? null : summaryOf(running),
  };
}

/** nerves_hub_link asks for no less. */
export const SOON_MS = 5 * 60_000;
