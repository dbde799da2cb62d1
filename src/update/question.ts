/**
 * What the policy command and the application learn about an update before they decide. Not its URL: that is
 * signed, and whoever has it can download the firmware.
 */
import { type FirmwareSummary, summaryOf } from "../control/messages.ts";
import type { RunningFirmware } from "../firmware/slots.ts";
import type { Offer } from "./offers.ts";

/** What the policy command gets on its standard input. */
export interface UpdateQuestion {
  readonly firmware: FirmwareSummary;
  /** Bytes; null when the hub does not say. */
  readonly size: number | null;
  readonly deployment_id: number | string | null;
  /** The firmware that runs now; null when it is not known. */
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
