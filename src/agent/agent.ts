import { interfaceOf } from "../board/network-interface.ts";
import { BoardCare } from "../care/care.ts";
import { Identify } from "../care/identify.ts";
import { RebootIntoUpdate } from "../care/reboot-into-update.ts";
import type { Config } from "../config/schema.ts";
import { summaryOf } from "../control/messages.ts";
import { ControlServer } from "../control/server.ts";
import { FirmwareCache } from "../download/cache.ts";
import { createExtensionsTopic } from "../extensions/extensions-topic.ts";
import { createApplicationMetrics } from "../extensions/health.ts";
import { createLogging } from "../extensions/logging.ts";
import { hubRequests } from "../hub/connect-request.ts";
import { DeviceTopic } from "../hub/device-topic.ts";
import { HubLink, type LinkStatus } from "../hub/link.ts";
import { inSeedDialect } from "../hub/seed-dialect.ts";
import type { Clock } from "../platform/clock.ts";
import { runCommand } from "../platform/command.ts";
import { type Log, tappedLog } from "../platform/log.ts";
import type { World } from "../platform/world.ts";
import { RemoteAccess } from "../remote/access.ts";
import { Archives } from "../update/archives.ts";
import { Application } from "../update/application.ts";
import { Approval } from "../update/approval.ts";
import { FreshUrl } from "../update/fresh-url.ts";
import type { HubOfferDeps } from "../update/offers.ts";
import { UpdateReport } from "../update/report.ts";
import { Reschedule } from "../update/reschedule.ts";
import { Updater } from "../update/updater.ts";
import { VERSION } from "../version.ts";
import { createPublicKeys, openBoard } from "./board.ts";
import { controlMethods } from "./control-methods.ts";
import { boardExtensions, createConnectionLosses, healthFacts } from "./extensions.ts";
import { handleHubMessage } from "./hub-messages.ts";
import { downloadSettings, fwupSettings, linkSettings } from "./settings.ts";
import { agentStatus } from "./status.ts";

export interface AgentOptions {
  readonly config: Config;
  readonly clock: Clock;
  /** From 0 (included) to 1 (excluded). */
  readonly random: () => number;
  readonly log: Log;
  /** The root folder, `/` on a board: where the kernel's files are read. */
  readonly root: string;
  /** The agent before was left stranded: a reboot that is owed is not asked for at once. */
  readonly afterStranded: boolean;
}

/** A running agent. */
export interface Agent {
  /** Goes quietly: ends what is under way, leaves the channels, closes everything. */
  stop(): Promise<void>;
  /** Resolves when no update is being written. */
  settled(): Promise<void>;
  /** Resolves when a reboot that failed has ended its work for nothing: stop it, and start another. */
  readonly stranded: Promise<void>;
}

/** The next reboot after one that failed: until then people can reach the board. */
const REBOOT_AGAIN_MS = 3_600_000;

/** What a slot that is being finished is given on a stop; the whole stop stays under 10 s. */
const FINISH_GRACE_MS = 6000;

/**
 * Starts the agent: reads what runs, opens the control socket, connects to the hub for ever.
 * @throws Failure when the configuration, the identity or the control socket can't be used; what is
 *   wrong with fwup or the slots is logged, since a board that can be talked to can be helped
 */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  const { config, root } = options;
  const logging = config.extensions.logging
    ? createLogging({ ...config.logging, clock: options.clock })
    : undefined;
  const log = logging === undefined ? options.log : tappedLog(options.log, config.log.level, logging.add);
  const { guard, clock, boot, identity, trust, journal, firmware, history, fwup } = await openBoard({
    ...options,
    log,
  });
  const world: World = { clock, random: options.random, root, run: runCommand };
  const startedMs = clock.monotonic();
  const control = new ControlServer({
    path: config.state.controlSocket,
    mode: Number.parseInt(config.state.controlMode, 8),
    group: config.state.controlGroup,
    agentVersion: VERSION,
    clock,
    log: log.scope("control"),
  });

  const keys = createPublicKeys(config.firmware);
  const archiveKeys = createPublicKeys(config.firmware);

  const networkInterface = (): string | undefined => {
    const { localAddress } = link.status;
    return localAddress === undefined ? undefined : interfaceOf(localAddress);
  };

  const losses = createConnectionLosses();
  let lastConnection = "";
  const onStatus = (linkStatus: LinkStatus): void => {
    losses.note(linkStatus);
    const { connection } = linkStatus;
    if (connection === lastConnection) return;
    lastConnection = connection;
    care.connectivity.note(connection === "connected");
    if (connection !== "connected") extensions.disconnected();
    control.publish("connection", { state: connection });
  };

  const fetching: HubOfferDeps = {
    clock,
    random: options.random,
    log: log.scope("download"),
    ...downloadSettings(config, clock),
    ca: trust.ca,
    mode: config.update.mode,
    connections: config.update.connections,
    cache: new FirmwareCache(config.update.cacheDir, clock),
  };
  if (firmware.running?.uuid !== undefined) await fetching.cache.remove(firmware.running.uuid);
  const link = new HubLink({
    request: hubRequests(config.hub, identity, trust.ca),
    ...(await linkSettings(config.hub)),
    world,
    log: log.scope("hub"),
    clockDoubt: () => guard.doubt,
  });
  link.on("status", onStatus);
  link.on("hubTime", (hubMs) => guard.noteHubTime(hubMs));

  const device = new DeviceTopic({
    link,
    topic: config.hub.topic,
    ...(config.hub.statusDialect === "seed" && { dialect: inSeedDialect }),
    log: log.scope("hub"),
  });
  device.setJoinState(() => ({
    firmware: firmware.running?.metadata ?? {},
    fwupVersion: fwup ?? "",
    downloadingUuid: updater.status.uuid,
    validated: !validation.pending,
    autoRevertDetected: firmware.fellBack,
  }));
  device.on("message", (message) =>
    handleHubMessage(message, {
      device,
      extensions,
      archives,
      updater,
      rebooter,
      keys,
      archiveKeys,
      scripts: access.scripts,
      identify,
      fetching,
      freshUrl,
      log,
    }),
  );
  device.on("statusSent", (sent) => {
    if (sent.status === "rescheduled") reschedule.after(sent.delay_for);
  });
  device.on("joined", () => {
    const name = networkInterface();
    if (name !== undefined) device.send({ event: "report_network_interface", payload: { interface: name } });
    validation.joined();
    reschedule.joined();
  });

  const identify = new Identify({ config, control, world, log: log.scope("identify") });

  const freshUrl = new FreshUrl(device, clock);

  const { identifier } = identity;
  const access = new RemoteAccess({ config, identifier, firmware, link, world, log });
  access.console?.on("uploadProgress", (progress) => control.publish("upload_progress", progress));
  access.scripts.on("result", (payload) => device.send({ event: "scripts/run", payload }));

  const applicationMetrics = createApplicationMetrics();
  const extensions = createExtensionsTopic({
    link,
    extensions: boardExtensions(config, {
      facts: () => healthFacts(status(), losses, firmware.problem?.message),
      applicationMetrics: () => applicationMetrics.values,
      logging,
      localShell: access.localShell,
      root,
      clock,
    }),
    clock,
    log: log.scope("extensions"),
  });

  const care = new BoardCare({ config, boot, firmware, journal, hub: device, world, log });
  const { rebooter, validation, watchdogs } = care;
  care.connectivity.on("reconnect", () => link.reconnect("connectivity.command was run"));

  const application = new Application(config.app, control, log.scope("control"));
  const rebootIntoUpdate = new RebootIntoUpdate({
    config: config.app,
    application,
    clock,
    log: log.scope("reboot"),
  });
  rebootIntoUpdate.on("due", (reason) => rebooter.reboot(reason));
  rebootIntoUpdate.on("deferred", (untilMs) =>
    control.publish("reboot_pending", { deferred_until_ms: untilMs }),
  );

  const approval = new Approval({
    ...{ config, firmware, history, application, validation, rebooter, rebootIntoUpdate, link, world },
  });
  const updater = new Updater({
    settings: fwupSettings(config),
    firmware,
    keys,
    decider: approval,
    history,
    cache: fetching.cache,
    clock,
    log: log.scope("update"),
  });
  const updateReport = new UpdateReport(updater, device, control);
  updater.on("ended", (offer, outcome) => {
    if (outcome.result === "installed" && offer.origin === "hub" && !updater.stopping)
      rebootIntoUpdate.begin(summaryOf(outcome.firmware));
  });
  const reschedule = new Reschedule({ journal, updater, link, world });
  reschedule.on("due", () => device.rejoin());
  const archives = config.archives.enabled
    ? new Archives({
        config: config.archives,
        fwup: config.firmware.fwup,
        keys: archiveKeys,
        updater,
        fetching,
        world,
        log: log.scope("archives"),
      })
    : undefined;

  const status = () =>
    agentStatus({
      config,
      identity,
      firmware,
      fwupVersion: fwup,
      link: link.status,
      joined: device.joined,
      extensions: extensions.attached,
      update: updater.status,
      lastUpdate: updateReport.last,
      pendingValidation: validation.pending,
      console: access.console,
      archives,
      pendingReboot: rebootIntoUpdate.pending,
      nowMs: clock.now(),
      watchdogs,
      lastReboot: boot.cause,
      uptimeMs: clock.monotonic() - startedMs,
    });

  const methods = controlMethods({
    status,
    firmware,
    validation,
    updater,
    rebooter,
    fetching,
    console: access.console,
    applicationMetrics,
  });
  await control.start(methods);

  const stranded = new Promise<void>((resolve) => rebooter.once("stranded", resolve));
  log.info("hublink started", { version: VERSION, identifier: identity.identifier, pid: process.pid });
  await care.start({
    updater,
    async endChildren() {
      await Promise.all([updater.stop(0), access.stop(), identify.stop()]);
    },
  });
  await identify.start();
  guard.start(() => {
    if (link.status.connection === "disconnected") link.reconnect("the board's clock was set");
  });
  link.start();
  if (firmware.rebootOwed) {
    // The hub may not have heard it; it is told with the join, and sends nothing anew.
    device.reportStatus(journal.installed?.uuid ?? null, { status: "completed" });
    rebootIntoUpdate.resume(
      summaryOf(firmware.running?.other ?? {}),
      journal.installed?.atMs ?? clock.now(),
      options.afterStranded ? REBOOT_AGAIN_MS : 0,
    );
  }

  return {
    settled: async () => updater.settled(),
    stranded,
    async stop() {
      log.info("hublink stops");
      reschedule.stop();
      await care.stop(
        Promise.all([
          identify.stop(),
          rebootIntoUpdate.stop(),
          access.stop(),
          archives?.stop(),
          Promise.all([updater.stop(FINISH_GRACE_MS), extensions.stop()]).then(async () => link.stop()),
          control.stop(),
          guard.stop(),
        ]),
      );
    },
  };
}
