/**
 * Which part hears which: the one table that connects the agent's parts. On the left the part that reports, on
 * the right what follows from it. A part that only its neighbour hears is connected in its own room.
 */
import { interfaceOf } from "../board/network-interface.ts";
import { summaryOf } from "../control/agent-status.ts";
import { hubOffer } from "../update/offers.ts";
import { handleHubMessage } from "./hub-messages.ts";
import type { Parts } from "./parts.ts";

export function wire(parts: Parts): void {
  const { access, alarmWatch, connectivity, control, device, extensions, firmware, fwup } = parts;
  const { freshUrl, history, hubFetching, hubUpdates, keptOffer, link, losses } = parts;
  const { managedUpdates, rebooter, rebootIntoUpdate } = parts;
  const { reschedule, scripts, updater, validation } = parts;

  link.on("status", (status) => losses.note(status));
  link.on("connection", (connection) => connectivity.note(connection === "connected"));
  link.on("connection", (connection) => {
    if (connection !== "connected") extensions.disconnected();
  });
  link.on("connection", (connection) => control.publish("connection", { state: connection }));

  // The alarms are looked at after the event, when the part shows what has become of it.
  for (const event of ["received", "ended"] as const) updater.on(event, () => void alarmWatch?.refresh());
  validation.on("validated", () => void alarmWatch?.refresh());
  link.on("connection", () => void alarmWatch?.refresh());

  device.setJoinState(() => ({
    firmware: firmware.running?.metadata ?? {},
    fwupVersion: fwup ?? "",
    downloadingUuid: updater.status.uuid ?? updater.status.held?.uuid ?? keptOffer.left ?? null,
    validated: !validation.pending,
    autoRevertDetected: firmware.fellBack,
  }));
  device.on("joined", () => reportInterface(parts));
  device.on("joined", () => validation.joined());
  device.on("joined", () => reschedule.joined());
  device.on("joined", () => keptOffer.ready());
  device.on("joined", () => extensions.deviceJoined());
  device.on("lost", () => extensions.deviceLost());
  device.on("message", (message) => handleHubMessage(message, parts));
  device.on("statusSent", (sent) => {
    // What waits on the board is not asked for again.
    if (sent.status === "rescheduled" && updater.status.held === undefined) reschedule.after(sent.delay_for);
  });

  validation.on("validated", () => {
    const { held, state } = updater.status;
    if (held !== undefined) updater.wake();
    // NervesHub offers nothing to a board on trial, so the join has not brought back what a power cut interrupted.
    else if (history.interrupted !== undefined && state === "idle" && keptOffer.left === undefined)
      device.rejoin();
  });

  keptOffer.on("resume", (update) => {
    freshUrl.arrived(update);
    updater.resume(hubOffer(update, hubFetching, freshUrl));
  });
  updater.on("ended", ({ announced }) => {
    if (!updater.stopping) keptOffer.ended(announced.uuid ?? "");
  });
  updater.on("installedAlready", ({ announced }) => keptOffer.ended(announced.uuid ?? ""));
  updater.on("ended", (offer, outcome) => {
    // A person who installs by hand reboots by hand; and an agent that stops leaves the reboot to the next one.
    if (outcome.result !== "installed" || offer.origin !== "hub" || updater.stopping) return;
    rebootIntoUpdate.begin(summaryOf(outcome.firmware));
  });
  rebootIntoUpdate.on("due", (reason) => rebooter.reboot(reason));
  rebootIntoUpdate.on("deferred", (untilMs) =>
    control.publish("reboot_pending", { deferred_until_ms: untilMs }),
  );
  reschedule.on("due", () => void hubUpdates.askAgain()); // logs its own failures
  hubUpdates.on("busy", (delayMs) => reschedule.after(delayMs));
  hubUpdates.on("mode", (mode) => control.publish("update_mode", mode));
  hubUpdates.on("mode", () => managedUpdates.modeChanged());
  connectivity.on("reconnect", () => link.reconnect("connectivity.command was run"));

  access.console?.on("uploadProgress", (progress) => control.publish("upload_progress", progress));
  scripts.on("result", (result) => device.send({ event: "scripts/run", payload: result }));
}

/** The hub shows which of the board's network interfaces it is reached by. */
function reportInterface({ device, link }: Parts): void {
  const { localAddress } = link.status;
  const name = localAddress === undefined ? undefined : interfaceOf(localAddress);
  if (name !== undefined) device.send({ event: "report_network_interface", payload: { interface: name } });
}
