/**
 * Which part does what applications and the command line ask for over the control socket. Rule: parameters are
 * checked here, and a request that can't be met is an error with a code.
 */
import * as v from "valibot";
import type { Rebooter } from "../care/rebooter.ts";
import type { Validation } from "../care/validation.ts";
import { type AgentStatus, summaryOf } from "../control/agent-status.ts";
import {
  AlarmClearParams,
  AlarmRaiseParams,
  ApplyParams,
  ComponentsParams,
  ControlFailure,
  MetricsParams,
  ReportErrorParams,
  UploadParams,
} from "../control/messages.ts";
import type { ControlMethods } from "../control/server.ts";
import type { ApplicationAlarms } from "../extensions/application-alarms.ts";
import type { ApplicationComponents } from "../extensions/application-components.ts";
import type { ErrorReports } from "../extensions/error-reports.ts";
import type { ApplicationMetrics } from "../extensions/health-metrics.ts";
import type { BoardFirmware } from "../firmware/board-firmware.ts";
import { Failure } from "../platform/failure.ts";
import type { ConsoleTopic } from "../remote/console.ts";
import type { HubUpdates } from "../update/hub-updates.ts";
import { localOffer, type OfferDeps } from "../update/offers.ts";
import type { Updater } from "../update/updater.ts";
import { updateMethods } from "./update-methods.ts";

export interface ControlDeps {
  readonly status: () => AgentStatus;
  readonly firmware: BoardFirmware;
  readonly validation: Validation;
  readonly updater: Updater;
  readonly rebooter: Rebooter;
  readonly hubUpdates: HubUpdates;
  readonly fetching: OfferDeps;
  /** Undefined when the console is not enabled. */
  readonly console: ConsoleTopic | undefined;
  readonly applicationMetrics: ApplicationMetrics;
  /** Undefined when the configuration does not let applications declare any. */
  readonly applicationComponents: ApplicationComponents | undefined;
  readonly applicationAlarms: ApplicationAlarms;
  /** Undefined when they are not sent. */
  readonly errorReports: ErrorReports | undefined;
}

const RebootParams = v.nullish(v.object({ reason: v.nullish(v.string()) }));

/** The methods of the control socket, which applications and the command line call. */
export function controlMethods(deps: ControlDeps): ControlMethods {
  const { firmware, validation, updater, rebooter } = deps;
  return {
    status: () => deps.status(),
    async mark_valid() {
      if (firmware.problem !== undefined) throw firmware.problem;
      await validation.markValid();
      return {};
    },
    reboot(params) {
      const { success, output } = v.safeParse(RebootParams, params);
      if (!success) throw new Failure("unsupported", "reboot takes {reason: text} or nothing");
      rebooter.reboot(output?.reason ?? "asked for over the control socket");
      const { state } = updater.status;
      const waits = state !== "idle" && state !== "deciding" && state !== "installed";
      return waits ? { waits_for_update: true } : {};
    },
    async revert() {
      const { state } = updater.status;
      if (state === "installed") {
        throw new Failure("reboot_pending", "an update is installed; reboot into it, then revert");
      }
      if (state !== "idle") {
        throw new Failure("update_in_progress", "an update is under way; revert when it has ended");
      }
      await firmware.revert();
      return {};
    },
    async apply(params) {
      const { success, output } = v.safeParse(ApplyParams, params);
      if (!success)
        throw new Failure("unsupported", "apply needs {source: path or URL, force?: true or false}");
      const outcome = await updater.apply(await localOffer(output.source, deps.fetching, output.force));
      if (outcome.result !== "installed") {
        const code = outcome.result === "failed" ? outcome.failure : "failed";
        throw new ControlFailure(outcome.result, code, outcome.reason);
      }
      return { firmware: summaryOf(outcome.firmware) };
    },
    ...updateMethods(deps),
    metrics(params) {
      const { success, output } = v.safeParse(MetricsParams, params);
      if (!success) throw new Failure("unsupported", "metrics takes {values: {name: number, …}}");
      const problem = deps.applicationMetrics.merge(output.values);
      if (problem !== undefined) throw new Failure("unsupported", `metrics: ${problem}`);
      return {};
    },
    alarm_raise(params) {
      const { success, output } = v.safeParse(AlarmRaiseParams, params);
      if (!success) {
        const text = "alarm_raise takes {alarm: name, description?: text of at most 256 characters}";
        throw new Failure("unsupported", text);
      }
      const problem = deps.applicationAlarms.raise(output.alarm, output.description);
      if (problem !== undefined) throw new Failure("unsupported", `alarm_raise: ${problem}`);
      return {};
    },
    alarm_clear(params) {
      const { success, output } = v.safeParse(AlarmClearParams, params);
      if (!success) throw new Failure("unsupported", "alarm_clear takes {alarm: name}");
      const problem = deps.applicationAlarms.clear(output.alarm);
      if (problem !== undefined) throw new Failure("unsupported", `alarm_clear: ${problem}`);
      return {};
    },
    components(params, caller) {
      if (deps.applicationComponents === undefined) {
        const text = "components of applications are not enabled on this board; set extensions.components";
        throw new Failure("config", text);
      }
      const { success, output } = v.safeParse(ComponentsParams, params);
      if (!success) {
        const text =
          "components takes {components: [{identifier, label?, metrics?, actions?, modes?}, …]}, as docs/control-socket.md says";
        throw new Failure("unsupported", text);
      }
      const problem = deps.applicationComponents.declare(caller, output);
      if (problem !== undefined) throw new Failure("unsupported", `components: ${problem}`);
      return {};
    },
    report_error(params) {
      const { success, output } = v.safeParse(ReportErrorParams, params);
      if (!success) {
        const text =
          "report_error takes {reason, kind?, message?, fingerprint?, frames?, context?: {name: text, …}}";
        throw new Failure("unsupported", text);
      }
      if (deps.errorReports === undefined) {
        throw new Failure("config", "errors are not reported by this board; set extensions.error_reports");
      }
      deps.errorReports.add({ ...output, source: "manual" });
      return {};
    },
    async upload(params, { gone }) {
      if (!v.is(UploadParams, params)) throw new Failure("unsupported", "upload needs {path: absolute path}");
      if (deps.console === undefined) {
        throw new Failure("config", "the hub's console is not enabled on this board; set console.enabled");
      }
      const { name, sizeBytes } = await deps.console.upload(params.path, gone);
      return { name, size: sizeBytes };
    },
    update_available: wrongDirection,
    reboot_request: wrongDirection,
    identify: wrongDirection,
    component_action: wrongDirection,
    component_mode: wrongDirection,
  };
}

function wrongDirection(): never {
  throw new ControlFailure(
    "wrong_direction",
    "unsupported",
    "that is a question the agent asks the application",
  );
}
