/** `hublink status`: the daemon's answer in rows that a person reads, or as JSON. */
import * as v from "valibot";
import { AgentStatus } from "../control/agent-status.ts";
import { printableJson } from "../platform/text.ts";
import { readConfig, runningDaemon } from "./config.ts";
import { formatSpan } from "./progress-bar.ts";
import { type Arguments, columnsOf, type CommandContext, renderRows } from "./terminal.ts";

/** `hublink status`: what the running daemon reports about itself. */
export async function status(context: CommandContext, { has }: Arguments<"json">): Promise<void> {
  const { state } = await readConfig(context);
  const daemon = await runningDaemon({ path: state.controlSocket }, "start it with hublink run");
  try {
    const answer = await daemon.request("status");
    const { stdout } = context.terminal;
    if (has("json")) stdout.write(`${printableJson(answer, 2)}\n`);
    else stdout.write(renderRows(rowsOf(v.parse(AgentStatus, answer)), columnsOf(context.terminal.stdout)));
  } finally {
    daemon.close();
  }
}

function rowsOf(status: AgentStatus): [string, string][] {
  const rows: [string, string][] = [
    [
      "agent",
      `hublink ${status.agent_version}, up ${formatSpan(status.uptime_s * 1000)}, ${status.rss_mib} MiB`,
    ],
    ["identifier", status.identifier],
    ["hub", `${status.hub}: ${connectionText(status)}`],
  ];
  if (status.away_s !== null) rows.push(["", `away for ${formatSpan(status.away_s * 1000)}`]);
  rows.push(...extensionRows(status.extension_states));
  rows.push(["identity", status.identity.source]);
  const { certificate } = status.identity;
  if (certificate !== null) rows.push(["", `valid until ${certificate.not_after.slice(0, 10)}`]);
  for (const warning of status.identity.warnings) rows.push(["", warning]);
  const { firmware } = status;
  rows.push(["firmware", firmware === null ? "not known" : `${firmware.product} ${firmware.version}`]);
  if (firmware !== null) rows.push(["", firmware.uuid]);
  const validated = status.pending_validation ? "not validated yet" : "validated";
  rows.push(["slot", `${status.slot ?? "none"} of ${status.devpath}, ${validated}`]);
  if (status.auto_revert_detected) rows.push(["", "the board fell back to it"]);
  const { other_firmware: other, boots_next: next } = status;
  if (other !== null) rows.push(["other slot", `${other.product} ${other.version}`.trim()]);
  if (next !== null && status.slot !== null && next !== status.slot) {
    rows.push(["", `${next} boots next: hublink reboot starts it`]);
  }
  rows.push(["fwup", status.fwup_version ?? "not found"]);
  const { update, last_update: last } = status;
  if (update !== null) {
    rows.push(["update", `${update.stage}, ${update.percent} %`]);
    if (update.waiting !== null) {
      const { reason, for_s: seconds } = update.waiting;
      rows.push(["", `no byte for ${formatSpan(seconds * 1000)}: ${reason}`]);
    }
    if (update.uuid !== "") rows.push(["", update.uuid]);
  } else if (last !== null) {
    const more = last.status === "installed" ? ", starts with the next reboot" : "";
    rows.push(["last update", `${last.status}${last.reason === null ? more : `: ${last.reason}`}`]);
    if (last.uuid !== "") rows.push(["", last.uuid]);
  } else {
    rows.push(["update", "none"]);
  }
  if (status.update_mode !== null) rows.push(["", modeText(status.update_mode)]);
  if (status.console !== null) {
    const { joined, shell_running: running } = status.console;
    rows.push([
      "console",
      `${joined ? "joined" : "not joined"}, ${running ? "a shell runs" : "no shell runs"}`,
    ]);
  }
  if (status.archive !== null) {
    const { uuid, version, state, reason } = status.archive;
    const name = version === null ? "" : `${version} `;
    rows.push(["archive", `${name}${state}${reason === null ? "" : `: ${reason}`}`], ["", uuid]);
  }
  const { watchdogs, watchdogs_starving: starving, last_reboot: reboot } = status;
  for (const [index, name] of watchdogs.entries()) rows.push([index === 0 ? "watchdog" : "", name]);
  if (starving !== null) rows.push(["", `not fed: ${starving}`]);
  if (reboot !== null)
    rows.push(["last reboot", `${reboot.reason}${reboot.method === null ? "" : `, by ${reboot.method}`}`]);
  if (status.rebooting !== null) rows.push(["reboot", rebootText(status.rebooting)]);
  if (status.pending_reboot !== null) rows.push(["reboot", pendingRebootText(status.pending_reboot)]);
  if (status.last_error !== null) rows.push(["last error", status.last_error]);
  return rows;
}

const MODES = {
  automatic: "the hub starts its updates",
  device_managed: "the board starts its updates",
  off: "updates are off at the hub, but for an operator's",
} as const;

const EXTENSION_STATES = {
  attached: "attached",
  waiting: "waiting for the hub",
  off_at_hub: "off at the hub",
  detached: "detached",
  off: "off here",
} as const;

function modeText({ mode, managed_updates_allowed: may }: NonNullable<AgentStatus["update_mode"]>): string {
  return mode === "automatic" && may ? `${MODES[mode]}; the board may take over` : MODES[mode];
}

/** A row for each state that an extension is in. */
function extensionRows(states: AgentStatus["extension_states"]): [string, string][] {
  return Object.entries(EXTENSION_STATES)
    .map(([state, text]) => [text, states.filter((extension) => extension.state === state)] as const)
    .filter(([, extensions]) => extensions.length > 0)
    .map(([text, extensions], index) => {
      const names = extensions.map(({ name, version }) => (version === null ? name : `${name} ${version}`));
      return [index === 0 ? "extensions" : "", `${text}: ${names.join(", ")}`];
    });
}

function rebootText({ reason, method, failed }: NonNullable<AgentStatus["rebooting"]>): string {
  if (failed) return `failed in every way: ${reason}`;
  return `under way${method === null ? "" : ` by ${method}`}: ${reason}`;
}

function pendingRebootText({ deferred_until_ms: until }: NonNullable<AgentStatus["pending_reboot"]>): string {
  if (until === null) return "waited for: hublink reboot starts the installed update";
  return `put off by the application until ${new Date(until).toString().slice(0, 24)}`;
}

function connectionText(status: AgentStatus): string {
  if (status.connection === "connected") {
    return `connected, ${status.joined ? "joined" : "joining"}, ${status.serializer}`;
  }
  if (status.next_attempt_s === null) return status.connection;
  return `${status.connection}, next attempt in ${status.next_attempt_s} s`;
}
