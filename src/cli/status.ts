import * as v from "valibot";
import { AgentStatus } from "../agent/control-messages.ts";
import { Failure } from "../platform/failure.ts";
import { readConfig } from "./config.ts";
import { connectToDaemon } from "./control-client.ts";
import { formatSpan } from "./progress-bar.ts";
import { columnsOf, renderRows, type CommandContext } from "./terminal.ts";

/** `hublink status`: what the running daemon says of itself. */
export async function status(context: CommandContext, json: boolean): Promise<void> {
  const config = await readConfig(context);
  const path = config.state.control_socket;
  const daemon = await connectToDaemon({ path });
  if (daemon === undefined) {
    throw new Failure("unavailable", `no daemon listens on ${path}; start it with hublink run`);
  }
  try {
    const answer = await daemon.request("status");
    const { stdout } = context.terminal;
    if (json) stdout.write(`${JSON.stringify(answer, undefined, 2)}\n`);
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
    ["identity", status.identity.source],
  ];
  const { certificate } = status.identity;
  if (certificate !== null) rows.push(["", `valid until ${certificate.not_after.slice(0, 10)}`]);
  const { firmware } = status;
  rows.push(["firmware", firmware === null ? "not known" : `${firmware.product} ${firmware.version}`]);
  if (firmware !== null) rows.push(["", firmware.uuid]);
  const validated = status.pending_validation ? "not validated yet" : "validated";
  rows.push(["slot", `${status.slot ?? "none"} of ${status.devpath}, ${validated}`]);
  if (status.auto_revert_detected) rows.push(["", "the board fell back to it"]);
  rows.push(["fwup", status.fwup_version ?? "not found"]);
  const { update, last_update: last } = status;
  if (update !== null) {
    rows.push(["update", `${update.stage}, ${update.percent} %`]);
    if (update.uuid !== "") rows.push(["", update.uuid]);
  } else if (last !== null) {
    const more = last.status === "installed" ? ", starts with the next reboot" : "";
    rows.push(["last update", `${last.status}${last.reason === null ? more : `: ${last.reason}`}`]);
    if (last.uuid !== "") rows.push(["", last.uuid]);
  } else {
    rows.push(["update", "none"]);
  }
  if (status.last_error !== null) rows.push(["last error", status.last_error]);
  return rows;
}

function connectionText(status: AgentStatus): string {
  if (status.connection === "connected") return status.joined ? "connected, joined" : "connected, joining";
  if (status.next_attempt_s === null) return status.connection;
  return `${status.connection}, next attempt in ${status.next_attempt_s} s`;
}
