/**
 * Constructs every part of the agent, in an order in which each one gets only parts that are there already.
 * Rule: no part is used before it is constructed; what a part has to hear from a later one reaches it by the
 * table in wires.ts.
 */
import { BoardCare } from "../care/care.ts";
import { Identify } from "../care/identify.ts";
import { RebootIntoUpdate } from "../care/reboot-into-update.ts";
import type { Config } from "../config/schema.ts";
import { ControlServer } from "../control/server.ts";
import { FirmwareCache } from "../download/cache.ts";
import { AlarmList } from "../extensions/alarm-list.ts";
import { ApplicationAlarms } from "../extensions/application-alarms.ts";
import { ExtensionsTopic } from "../extensions/extensions-topic.ts";
import { ApplicationMetrics } from "../extensions/health-metrics.ts";
import type { Logging } from "../extensions/logging.ts";
import { hubRequests, presentsCertificate } from "../hub/connect-request.ts";
import { DeviceTopic } from "../hub/device-topic.ts";
import { HubLink } from "../hub/link.ts";
import { seedDialect } from "../hub/seed-dialect.ts";
import type { Log } from "../platform/log.ts";
import { RemoteAccess } from "../remote/access.ts";
import { Application } from "../update/application.ts";
import { Limiter } from "../platform/pace.ts";
import { Approval } from "../update/approval.ts";
import { Archives } from "../update/archives.ts";
import { FreshUrl } from "../update/fresh-url.ts";
import { HubUpdates } from "../update/hub-updates.ts";
import { KeptOffer } from "../update/kept-offer.ts";
import { ManagedUpdates } from "../update/managed-updates.ts";
import type { HubOfferDeps, OfferDeps } from "../update/offers.ts";
import { UpdateReport } from "../update/report.ts";
import { Reschedule } from "../update/reschedule.ts";
import { Updater } from "../update/updater.ts";
import { VERSION } from "../version.ts";
import { type Board, PublicKeys } from "./board.ts";
import { AgentErrors } from "./errors.ts";
import { boardComponents, boardExtensions, ConnectionLosses, healthFacts } from "./extensions.ts";
import {
  downloadSettings,
  fwupSettings,
  hubDownloadSettings,
  linkSettings,
  socketSettings,
} from "./settings.ts";
import { agentStatus, type StatusSources } from "./status.ts";

export interface PartsOptions {
  readonly config: Config;
  readonly board: Board;
  readonly log: Log;
  /** Undefined where the log is not sent to the hub. */
  readonly logging: Logging | undefined;
}

/** Answers to updates that can't be used; NervesHub sends one at a time. */
const NONSENSE_RATE = { perSecond: 1, burst: 10 };

export type Parts = Awaited<ReturnType<typeof constructParts>>;

/** @throws Failure when the environment's proxy can't be used */
export async function constructParts({ config, board, log, logging }: PartsOptions) {
  const { world, guard, identity, trust, firmware, journal, history, boot, fwup } = board;
  const { clock } = world;

  // The two lines out: applications on the board, and the hub
  const control = new ControlServer({
    ...socketSettings(config),
    agentVersion: VERSION,
    clock,
    log: log.scope("control"),
  });
  const link = new HubLink({
    request: hubRequests(config.hub, identity, trust.ca),
    clientCertificate: presentsCertificate(config.hub, identity),
    ...(await linkSettings(config.hub)),
    world,
    log: log.scope("hub"),
    clockGuard: guard,
  });
  const losses = new ConnectionLosses(clock);
  const device = new DeviceTopic({
    link,
    topic: config.hub.topic,
    ...(config.hub.statusDialect === "seed" && { dialect: seedDialect }),
    results: journal,
    log: log.scope("hub"),
  });

  // These keep the board well, and let people at the hub work on it.
  const care = new BoardCare({ config, boot, firmware, journal, hub: device, world, log });
  const { rebooter, validation, watchdogs, connectivity } = care;
  const identify = new Identify({ config, control, world, log: log.scope("identify") });
  const access = new RemoteAccess({
    ...{ config, identifier: identity.identifier, firmware, link, world, log },
    socket: socketSettings(config),
  });
  const { console, scripts } = access;

  // Updates: what decides, what does them, what follows from them
  const keys = new PublicKeys(config.firmware);
  const fetching: OfferDeps = { world, log: log.scope("download"), ...downloadSettings(config, world) };
  const hubFetching: HubOfferDeps = {
    ...{ ...fetching, ...hubDownloadSettings(config) },
    cache: new FirmwareCache(config.update.cacheDir, clock),
  };
  const hubUpdates = new HubUpdates({ hub: device, clock, log: log.scope("update") });
  const freshUrl = new FreshUrl(device, hubUpdates, clock);
  const keptOffer = new KeptOffer({ stateDir: config.state.dir, keys, clock, log: log.scope("update") });
  const nonsense = new Limiter(NONSENSE_RATE, clock);
  const application = new Application(config.app, control, log.scope("control"));
  const rebootIntoUpdate = new RebootIntoUpdate({
    config: config.app,
    ...{ application, clock, log: log.scope("reboot") },
  });
  const approval = new Approval({
    ...{ config, firmware, history, application, validation, rebooter, rebootIntoUpdate, link, world },
  });
  const updater = new Updater({
    settings: fwupSettings(config),
    ...{ firmware, keys, approval, history, cache: hubFetching.cache, clock, log: log.scope("update") },
  });
  const report = new UpdateReport(updater, device, control);
  const reschedule = new Reschedule({ journal, updater, link, world });
  const managedUpdates = new ManagedUpdates({
    ...{ config: config.update, hubUpdates, approval, updater, link, world, log: log.scope("update") },
  });
  const archiveKeys = new PublicKeys(config.firmware);
  const archives = config.archives.enabled
    ? new Archives({
        ...{ config: config.archives, fwup: config.firmware.fwup, keys: archiveKeys },
        ...{ updater, fetching: hubFetching, world, log: log.scope("archives") },
      })
    : undefined;

  // These report the agent's state.
  const sources: StatusSources = {
    ...{ config, identity, firmware, fwup, boot, link, device, updater, report, validation, hubUpdates },
    ...{ rebootIntoUpdate, rebooter, watchdogs, console, archives, world, startedMs: clock.monotonic() },
  };
  const applicationMetrics = new ApplicationMetrics();
  const boardsComponents = boardComponents(config, world, log);
  const components = boardsComponents?.components;
  const applicationComponents = boardsComponents?.declared;
  const errors = config.extensions.errorReports
    ? new AgentErrors({
        ...{ stateDir: config.state.dir, boot, world, log: log.scope("error_reports") },
        firmwareUuid: () => firmware.running?.uuid,
      })
    : undefined;
  const errorReports = errors?.reports;
  const alarmList = new AlarmList(clock, log.scope("alarms"));
  const applicationAlarms = new ApplicationAlarms(alarmList);
  const {
    extensions: enabled,
    sampler,
    alarmWatch,
  } = boardExtensions(config, {
    facts: () => healthFacts(agentStatus(sources, []), losses, firmware.problem?.message),
    clockIsSet: () => guard.isSet,
    ...{ applicationMetrics, alarmList, logging, localShell: access.localShell, components, errorReports },
    ...{ world, log },
  });
  const extensions = new ExtensionsTopic({
    ...{ link, extensions: enabled, clock, log: log.scope("extensions") },
  });
  const status = () => agentStatus(sources, extensions.states);

  return {
    ...{ world, log, guard, journal, history, firmware, fwup, control, link, losses, device },
    ...{ care, rebooter, validation, connectivity, identify, access, console, scripts },
    ...{
      keys,
      fetching,
      hubFetching,
      freshUrl,
      keptOffer,
      hubUpdates,
      managedUpdates,
      nonsense,
      rebootIntoUpdate,
      updater,
      reschedule,
      archiveKeys,
      archives,
    },
    ...{ applicationMetrics, applicationAlarms, alarmList, alarmWatch, applicationComponents, components },
    ...{ errors, errorReports, extensions, sampler, status },
  };
}
