/**
 * Which part does what a message of topic `device` asks for. Rule: every kind of message has its line here, so
 * that one which this board won't do is answered or logged, never lost.
 */
import type { Identify } from "../care/identify.ts";
import type { Rebooter } from "../care/rebooter.ts";
import type { ExtensionsTopic } from "../extensions/extensions-topic.ts";
import type { HubMessage } from "../hub/device-messages.ts";
import type { DeviceTopic } from "../hub/device-topic.ts";
import type { Log } from "../platform/log.ts";
import type { Limiter } from "../platform/pace.ts";
import type { Scripts } from "../remote/scripts.ts";
import type { Archives } from "../update/archives.ts";
import type { FreshUrl } from "../update/fresh-url.ts";
import type { HubUpdates } from "../update/hub-updates.ts";
import type { KeptOffer } from "../update/kept-offer.ts";
import { hubOffer, type HubOfferDeps } from "../update/offers.ts";
import type { Updater } from "../update/updater.ts";
import type { PublicKeys } from "./board.ts";

export interface HubMessageDeps {
  readonly device: DeviceTopic;
  readonly extensions: ExtensionsTopic;
  readonly updater: Updater;
  readonly rebooter: Rebooter;
  readonly keys: PublicKeys;
  readonly scripts: Scripts;
  readonly identify: Identify;
  readonly archiveKeys: PublicKeys;
  /** Undefined when they are not enabled. */
  readonly archives: Archives | undefined;
  readonly hubFetching: HubOfferDeps;
  readonly freshUrl: FreshUrl;
  readonly keptOffer: KeptOffer;
  readonly hubUpdates: HubUpdates;
  /** Answers to what can't be used: the hub reads each one, and the first few say all. */
  readonly nonsense: Limiter;
  readonly log: Log;
}

/** Does what the message asks for, or answers that it won't be done. */
export function handleHubMessage(message: HubMessage, deps: HubMessageDeps): void {
  const { device, log } = deps;
  switch (message.type) {
    case "update":
      deps.keptOffer.arrived(message.update);
      deps.freshUrl.arrived(message.update);
      deps.hubUpdates.updateArrived(message.update);
      deps.updater.offer(hubOffer(message.update, deps.hubFetching, deps.freshUrl));
      break;
    case "no-update":
      log.info("the hub has no update");
      break;
    case "bad-update": {
      const reason = `the update can't be used: ${message.problem}`;
      const unanswered = deps.nonsense.pass();
      if (unanswered === undefined) break;
      log.error(reason, unanswered === 0 ? {} : { unanswered });
      device.reportStatus(message.uuid, { status: "failed", reason });
      break;
    }
    case "update-mode":
      deps.hubUpdates.modeArrived(message.mode);
      break;
    case "update-available":
      deps.hubUpdates.availableArrived(message.available);
      break;
    case "update-rejected":
      deps.hubUpdates.rejected(message.reason, message.delayMs);
      break;
    case "firmware-keys":
      deps.keys.fromHub(message.keys);
      deps.keptOffer.ready();
      break;
    case "reboot":
      deps.rebooter.reboot("the hub asked for it");
      break;
    case "script":
      deps.scripts.run(message.script);
      break;
    case "archive": // comes with every join
      if (deps.archives === undefined) log.debug("the hub's archive is not enabled on this board");
      else deps.archives.offer(message.archive);
      break;
    case "identify":
      deps.identify.show();
      break;
    case "extensions":
      deps.extensions.join(message.offered);
      break;
    case "archive-keys":
      deps.archiveKeys.fromHub(message.keys);
      break;
    case "malformed":
      log.warn(`ignored a message of the hub: ${message.problem}`);
      break;
    case "unknown":
      break;
  }
}
