import type { Updater } from "../firmware/update.ts";
import type { HubMessage } from "../hub/device-messages.ts";
import type { Log } from "../platform/log.ts";
import type { DeviceTopic } from "./device-topic.ts";
import { hubOffer, type OfferDeps } from "./offers.ts";
import type { PublicKeys } from "./public-keys.ts";
import type { Rebooter } from "./rebooter.ts";

export interface HubMessageDeps {
  readonly device: DeviceTopic;
  readonly updater: Updater;
  readonly rebooter: Rebooter;
  readonly keys: PublicKeys;
  readonly fetching: OfferDeps;
  readonly log: Log;
}

/** Does what a message of topic `device` asks for, or answers that it won't be done. */
export function handleHubMessage(message: HubMessage, deps: HubMessageDeps): void {
  const { device, log } = deps;
  switch (message.type) {
    case "update":
      deps.updater.offer(hubOffer(message.update, deps.fetching));
      break;
    case "no-update":
      log.info("the hub has no update");
      break;
    case "bad-update": {
      const reason = `the update can't be used: ${message.problem}`;
      log.error(reason);
      device.status(message.uuid, { status: "failed", reason });
      break;
    }
    case "firmware-keys":
      deps.keys.fromHub(message.keys);
      break;
    case "reboot":
      deps.rebooter.reboot("the hub asked for it");
      break;
    case "script":
      device.tell({
        event: "scripts/run",
        payload: {
          ref: message.ref,
          result: "error",
          output: "scripts are not enabled on this board",
          return: "",
          reason: "not enabled",
        },
      });
      break;
    case "identify":
    case "archive":
      log.info(`the hub's ${message.type} is not enabled on this board`);
      break;
    case "extensions":
    case "archive-keys": // come with every join
      log.debug(`the hub's ${message.type} is not enabled on this board`);
      break;
    case "malformed":
      log.warn(`ignored a message of the hub: ${message.problem}`);
      break;
    case "unknown":
      break;
  }
}
