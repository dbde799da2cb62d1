/**
 * The extensions that the configuration turns on, with what they report of this agent. Rule: an extension gets
 * functions that read, never a part of the agent itself.
 */
import type { Config } from "../config/schema.ts";
import type { AgentStatus } from "../control/agent-status.ts";
import type { AlarmList } from "../extensions/alarm-list.ts";
import { AlarmsExtension } from "../extensions/alarms.ts";
import { ApplicationComponents } from "../extensions/application-components.ts";
import { Components } from "../extensions/components.ts";
import { configuredComponents } from "../extensions/configured-components.ts";
import type { ErrorReports } from "../extensions/error-reports.ts";
import type { Extension } from "../extensions/extension.ts";
import { Geo } from "../extensions/geo.ts";
import { type ApplicationMetrics, BoardMetrics, type Metrics } from "../extensions/health-metrics.ts";
import { boardMetadata, Health, type HealthFacts } from "../extensions/health.ts";
import type { Logging } from "../extensions/logging.ts";
import { MetricSampler, MetricsExtension } from "../extensions/metrics.ts";
import type { ExtensionState } from "../extensions/negotiation.ts";
import { NetworkIdentity } from "../extensions/network-identity.ts";
import { OwnAlarms } from "../extensions/own-alarms.ts";
import { ReportMetrics } from "../extensions/report-metrics.ts";
import type { LinkStatus } from "../hub/link.ts";
import { loadTrust } from "../identity/trust.ts";
import type { Clock } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";
import type { World } from "../platform/world.ts";
import { guestEnvironment } from "../remote/guest-environment.ts";

export interface ExtensionSources {
  readonly facts: () => HealthFacts;
  readonly applicationMetrics: ApplicationMetrics;
  readonly alarmList: AlarmList;
  /** Undefined where the log is not sent. */
  readonly logging: Logging | undefined;
  /** Undefined where no shell is opened. */
  readonly localShell: Extension | undefined;
  /** Whether the world's clock shows the time. */
  readonly clockIsSet: () => boolean;
  /** Undefined where there can be none. */
  readonly components: Components | undefined;
  /** Undefined where errors are not reported. */
  readonly errorReports: ErrorReports | undefined;
  readonly world: World;
  readonly log: Log;
}

/** The extensions, and those of their parts that work while there is no hub. */
export interface BoardExtensions {
  readonly extensions: readonly Extension[];
  /** Undefined where metrics are not sent. */
  readonly sampler: MetricSampler | undefined;
  /** Undefined where alarms are not sent at the moment; then the health report reads them. */
  readonly alarmWatch: OwnAlarms | undefined;
}

/** The extensions that `[extensions]` turns on. */
export function boardExtensions(config: Config, sources: ExtensionSources): BoardExtensions {
  const { world, logging, localShell, components, errorReports, applicationMetrics, alarmList } = sources;
  const { clockIsSet, log } = sources;
  const { clock } = world;
  const { alarms, health, geo, metrics, networkIdentity } = config.extensions;
  const reportMetrics = new ReportMetrics(log.scope("metrics"));
  /** Each reader has a CPU usage of its own: that since its last reading. */
  const metricsReader = (): (() => Promise<Metrics>) => {
    const board = new BoardMetrics({ world, diskPath: config.state.dir });
    return async () => reportMetrics.choose(await board.read(), applicationMetrics.values);
  };
  const sampler = metrics
    ? new MetricSampler({
        ...{ intervalMs: config.metrics.intervalMs, read: metricsReader(), clock },
        log: log.scope("metrics"),
      })
    : undefined;
  const board = new BoardMetrics({ world, diskPath: config.state.dir });
  const ownAlarms = new OwnAlarms({
    ...{ facts: sources.facts, list: alarmList, clock, log: log.scope("alarms") },
    metrics: async () => (await board.read()).core,
  });
  const alarmsExtension = alarms ? new AlarmsExtension({ list: alarmList, clockIsSet, clock }) : undefined;
  const extensions = [
    ...(health
      ? [
          new Health({
            ...sources,
            clock,
            metrics: metricsReader(),
            async alarms() {
              if (alarmsExtension?.attached === true) return undefined;
              await ownAlarms.refresh();
              return Object.fromEntries(
                alarmList.current.map(({ name, description }) => [name, description]),
              );
            },
            boardMetadata: async () => boardMetadata(world),
            componentValues: async () => (await components?.values()) ?? {},
          }),
        ]
      : []),
    ...(geo ? [new Geo(config.geo.source, clock, async () => (await loadTrust("", world)).ca)] : []),
    ...(alarmsExtension === undefined ? [] : [alarmsExtension]),
    ...(logging === undefined ? [] : [logging]),
    ...(localShell === undefined ? [] : [localShell]),
    ...(components === undefined ? [] : [components]),
    ...(errorReports === undefined ? [] : [errorReports]),
    ...(sampler === undefined ? [] : [new MetricsExtension({ sampler, clockIsSet, clock })]),
    ...(networkIdentity ? [new NetworkIdentity(config.networkIdentity, clock)] : []),
  ];
  return { extensions, sampler, alarmWatch: alarms ? ownAlarms : undefined };
}

/**
 * The components of the configuration, and those that applications may declare. None when the configuration has
 * neither.
 */
export function boardComponents(config: Config, world: World, log: Log) {
  const { component, extensions, app } = config;
  if (component.length === 0 && !extensions.components) return undefined;
  const configured = configuredComponents(component, { world, environment: guestEnvironment });
  const declared = new ApplicationComponents(configured, app.askTimeoutMs);
  return {
    components: new Components({ configured, declared, clock: world.clock, log: log.scope("components") }),
    /** Undefined when the configuration does not let applications declare any. */
    declared: extensions.components ? declared : undefined,
  };
}

const NAMES = [
  "alarms",
  "components",
  "error_reports",
  "geo",
  "health",
  "local_shell",
  "logging",
  "metrics",
  "network_identity",
];

/** @param on those that the configuration turns on; the others are added, as `off` */
export function allExtensionStates(on: readonly ExtensionState[]): ExtensionState[] {
  return NAMES.map(
    (name) => on.find((entry) => entry.name === name) ?? { name, state: "off", version: null },
  );
}

/** Losses count until a connection has held for this long. */
const LATELY_MS = 3_600_000;

/** Counts how often the hub was lost lately. */
export class ConnectionLosses {
  readonly #clock: Pick<Clock, "monotonic">;
  #count = 0;
  #reason: string | undefined;
  #connected = false;
  /** When it was connected again after a loss. */
  #backMs: number | undefined;

  constructor(clock: Pick<Clock, "monotonic">) {
    this.#clock = clock;
  }

  /** The losses until a connection has held for an hour. */
  get lately(): number {
    const heldMs = this.#connected ? this.#clock.monotonic() - (this.#backMs ?? -Infinity) : 0;
    return heldMs < LATELY_MS ? this.#count : 0;
  }

  /** Why the last time. */
  get reason(): string | undefined {
    return this.#reason;
  }

  /** Takes each status of the link. */
  note({ connection, lastError }: LinkStatus): void {
    const connected = connection === "connected";
    if (this.#connected && !connected) {
      this.#count = this.lately + 1;
      this.#reason = lastError;
    }
    if (!this.#connected && connected && this.#count > 0) this.#backMs = this.#clock.monotonic();
    this.#connected = connected;
  }
}

/** The facts about the agent and its firmware in the health report. */
export function healthFacts(
  status: AgentStatus,
  losses: ConnectionLosses,
  firmwareProblem: string | undefined,
): HealthFacts {
  const { certificate } = status.identity;
  return {
    metadata: {
      agent: `hublink ${status.agent_version}`,
      agent_memory: `${status.rss_mib} MiB`,
      agent_uptime: `${status.uptime_s} s`,
      ...(status.slot !== null && { slot: status.slot }),
      ...(status.last_reboot !== null && { last_reboot: status.last_reboot.reason }),
    },
    lossesLately: losses.lately,
    lastLoss: losses.reason,
    update: status.update ?? undefined,
    pendingValidation: status.pending_validation,
    reverted: status.auto_revert_detected,
    firmwareProblem,
    certificateEndsMs: certificate === null ? undefined : Date.parse(certificate.not_after),
  };
}
