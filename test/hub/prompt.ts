/** The commands of `npm run hub`: each line lets a person be the operator or add a fault. */
import { Failure } from "../../src/platform/failure.ts";
import type { DeviceRecord, ManagedUpdates } from "./device-record.ts";
import { faultByName, faultUsages } from "./fault-names.ts";
import type { FirmwareMeta } from "./releases.ts";
import type { Hub } from "./server.ts";

const HELP = [
  "devices                who was here, what they run",
  "update ID FILE         send a firmware to a device",
  "mode ID MODE [allow]   automatic, device-managed or off; allow: the device may choose",
  "script ID TEXT         run a support script on it",
  "reboot ID              ask it to reboot",
  "identify ID            ask it to show itself",
  "disconnect ID          close its socket",
  "fault NAME … [xTIMES]  switch a fault on; without TIMES until it is switched off",
  "fault off              switch all faults off",
  "quit",
];

const MODES: ReadonlyMap<string, ManagedUpdates["mode"]> = new Map([
  ["automatic", "automatic"],
  ["device-managed", "device_managed"],
  ["off", "off"],
]);

/**
 * Carries out one line of the prompt.
 * @returns the lines to print, or `quit` to end the program
 * @throws Failure when the line can't be carried out
 */
export async function runLine(
  hub: Hub,
  line: string,
  readMeta: (file: string) => Promise<FirmwareMeta>,
): Promise<readonly string[] | "quit"> {
  const [command = "", ...words] = line.trim().split(/\s+/);
  switch (command) {
    case "":
      return [];
    case "help":
      return [...HELP, "", "faults:", ...faultUsages().map((usage) => `  ${usage}`)];
    case "devices":
      return hub.devices.length === 0 ? ["none yet"] : hub.devices.map((name) => describe(hub.device(name)));
    case "update": {
      const identifier = connected(hub, words[0], "update ID FILE");
      const file = words[1];
      if (file === undefined) throw new Failure("usage", "usage: update ID FILE");
      const release = await hub.publish(file, await readMeta(file));
      hub.pushUpdate(identifier, release);
      return [`sent ${release.meta.product} ${release.meta.version} (${release.sizeBytes} bytes)`];
    }
    case "mode": {
      const usage = "mode ID automatic|device-managed|off [allow]";
      const identifier = connected(hub, words[0], usage);
      const mode = MODES.get(words[1] ?? "");
      if (mode === undefined) throw new Failure("usage", `usage: ${usage}`);
      hub.manageUpdates(identifier, { mode, allowed: words[2] === "allow" });
      return [];
    }
    case "script": {
      const identifier = connected(hub, words[0], "script ID TEXT");
      return (await hub.runScript(identifier, words.slice(1).join(" "))).split("\n");
    }
    case "reboot":
      hub.reboot(connected(hub, words[0], "reboot ID"));
      return [];
    case "identify":
      hub.identify(connected(hub, words[0], "identify ID"));
      return [];
    case "disconnect":
      hub.disconnect(connected(hub, words[0], "disconnect ID"));
      return [];
    case "fault":
      return switchFault(hub, words);
    case "quit":
      return "quit";
    default:
      throw new Failure("usage", `${command}: unknown; "help" lists the commands`);
  }
}

function switchFault(hub: Hub, words: readonly string[]): readonly string[] {
  if (words.length === 1 && words[0] === "off") hub.faults.clear();
  else if (words.length > 0) {
    const times = /^x([1-9]\d*)$/.exec(words.at(-1) ?? "")?.[1];
    const fault = faultByName(times === undefined ? words : words.slice(0, -1));
    hub.faults.add(fault, times === undefined ? Infinity : Number(times));
  }
  const { names } = hub.faults;
  return [names.length === 0 ? "no faults" : `faults: ${names.join(", ")}`];
}

function connected(hub: Hub, identifier: string | undefined, usage: string): string {
  if (identifier === undefined) throw new Failure("usage", `usage: ${usage}`);
  if (!hub.devices.includes(identifier) || !hub.device(identifier).connected) {
    throw new Failure("unavailable", `${identifier}: not connected; "devices" shows who is`);
  }
  return identifier;
}

function describe(record: DeviceRecord): string {
  const state = record.online ? "online" : record.connected ? "connected" : "offline";
  const { product = "no firmware known", version = "" } = record.firmware ?? {};
  const update = record.inFlight === undefined ? "" : `, update ${record.inFlight.status}`;
  return `${record.identifier}: ${state}, ${product} ${version} ${record.validated}${update}`;
}
