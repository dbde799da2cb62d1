import { interfaceOf } from "../board/network-interface.ts";
import type { Config } from "../config/schema.ts";
import { openBoardFirmware } from "../firmware/board-firmware.ts";
import { fwupVersion } from "../firmware/fwup.ts";
import { openJournal } from "../firmware/journal.ts";
import { createUpdater, type Offer, type UpdateNews } from "../firmware/update.ts";
import { createHubLink, type LinkStatus } from "../hub/link.ts";
import { jsonSerializer } from "../hub/serializer.ts";
import { loadTrust } from "../identity/trust.ts";
import type { Clock } from "../platform/clock.ts";
import { runCommand } from "../platform/command.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { VERSION } from "../version.ts";
import { agentStatus } from "./agent-status.ts";
import { boardIdentity } from "./board-identity.ts";
import { summaryOf } from "./control-messages.ts";
import { controlMethods } from "./control-methods.ts";
import { startControlServer, type ControlServer } from "./control-server.ts";
import { decide } from "./decide.ts";
import { createDeviceTopic } from "./device-topic.ts";
import { fwupSettings } from "./fwup-settings.ts";
import { handleHubMessage } from "./hub-messages.ts";
import { hubRequests } from "./hub-request.ts";
import type { OfferDeps } from "./offers.ts";
import { createPublicKeys } from "./public-keys.ts";
import { createRebooter } from "./rebooter.ts";
import { statusOf } from "./update-status.ts";
import { createValidation } from "./validation.ts";

export interface AgentOptions {
  readonly config: Config;
  readonly clock: Clock;
  /** From 0 (included) to 1 (excluded). */
  readonly random: () => number;
  readonly log: Log;
  /** The root folder, `/` on a board: where the kernel's files are read. */
  readonly root: string;
}

/** A running agent. */
export interface Agent {
  /** Goes quietly: ends what is under way, leaves the channels, closes everything. */
  stop(): Promise<void>;
  /** Resolves when no update is being written. */
  settled(): Promise<void>;
}

/** What a slot that is being finished is given on a stop; the whole stop stays under 10 s. */
const FINISH_GRACE_MS = 6000;

/**
 * Starts the agent: reads what runs, opens the control socket, connects to the hub for ever.
 * @throws Failure when the configuration, the identity or the control socket can't be used; what is
 *   wrong with fwup or the slots is logged, since a board that can be talked to can be helped
 */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  const { config, clock, log, root } = options;
  const startedMs = clock.monotonic();
  const identity = await boardIdentity(config, root, clock, log.scope("identity"));
  const trust = await loadTrust(config.hub.ca_file, root);
  const journal = await openJournal(config.state.dir, log.scope("journal"));
  const firmware = await openBoardFirmware({
    config: config.firmware,
    journal,
    root,
    clock,
    log: log.scope("firmware"),
  });
  if (firmware.problem !== undefined) log.error(`no update can be installed: ${firmware.problem.message}`);
  if (firmware.fellBack) log.error("the board fell back from the firmware that was installed last");
  const fwup = await fwupVersionOrNone(options);

  const keys = createPublicKeys(config.firmware);
  let lastUpdate: { readonly offer: Offer; readonly news: UpdateNews } | undefined;
  let stopping = false;

  const networkInterface = (): string | undefined => {
    const { localAddress } = link.status;
    return localAddress === undefined ? undefined : interfaceOf(localAddress);
  };

  const onNews = (offer: Offer, news: UpdateNews): void => {
    if (news.type !== "progress") lastUpdate = { offer, news };
    if (news.type === "progress") {
      const payload = {
        stage: "updating",
        percent: news.percent,
        bytes: news.bytes,
        total_bytes: offer.sizeBytes,
      };
      control.publish("update_progress", payload);
      if (offer.origin === "hub") device.progress(news.percent, "updating");
      return;
    }
    // Ended by a stop, it has not failed: the hub sends it again at the next join.
    if (stopping) return;
    if (offer.origin === "hub")
      device.status(offer.announced.uuid ?? null, statusOf(news, networkInterface()));
    if (news.type !== "ended") return;
    if (news.outcome.result === "installed") {
      control.publish("update_installed", { firmware: summaryOf(news.outcome.firmware) });
      if (offer.origin === "hub") rebooter.reboot("the update is installed");
    } else if (news.outcome.result === "failed") {
      control.publish("update_failed", { reason: news.outcome.reason });
    }
  };

  let lastConnection = "";
  const onStatus = ({ connection }: LinkStatus): void => {
    if (connection === lastConnection) return;
    lastConnection = connection;
    control.publish("connection", { state: connection });
  };

  const fetching: OfferDeps = {
    clock,
    random: options.random,
    log: log.scope("download"),
    retry: config.update.retry,
    ca: trust.ca,
  };
  const link = createHubLink({
    request: hubRequests(config.hub, identity, trust.ca, jsonSerializer.vsn),
    serializer: jsonSerializer,
    reconnect: {
      minMs: config.hub.reconnect.min_s * 1000,
      maxMs: config.hub.reconnect.max_s * 1000,
      jitter: config.hub.reconnect.jitter,
    },
    heartbeatMs: config.hub.heartbeat_s * 1000,
    clock,
    random: options.random,
    log: log.scope("hub"),
    onStatus,
  });

  const device = createDeviceTopic({
    link,
    topic: config.hub.topic,
    joinState: () => ({
      firmware: firmware.running?.metadata ?? {},
      fwupVersion: fwup ?? "",
      downloadingUuid: updater.status.uuid,
      validated: !validation.pending,
      autoRevertDetected: firmware.fellBack,
    }),
    onMessage: (message) => handleHubMessage(message, { device, updater, rebooter, keys, fetching, log }),
    onJoined() {
      const name = networkInterface();
      if (name !== undefined)
        device.tell({ event: "report_network_interface", payload: { interface: name } });
      validation.joined();
    },
    log: log.scope("hub"),
  });

  const rebooter = createRebooter({
    config: config.reboot,
    clock,
    log: log.scope("reboot"),
    root,
    beforehand: async () => {
      await updater.settled();
      await firmware.noteReboot();
    },
    tellHub: async (timeoutMs) => {
      device.tell({ event: "rebooting", payload: {} });
      await device.flush(timeoutMs);
    },
  });

  const validation = createValidation({
    config: config.validation,
    pending: firmware.running !== undefined && !firmware.running.validated && !firmware.rebootOwed,
    validate: async () => firmware.validate(),
    onValidated: () => device.tell({ event: "firmware_validated", payload: {} }),
    onDeadline: () => rebooter.reboot("the running firmware was not marked good in time"),
    clock,
    runCommand,
    log: log.scope("validation"),
  });

  const updater = createUpdater({
    ...fwupSettings(config),
    devpath: () => firmware.devpath,
    publicKeys: keys.usable,
    decide: (offer) =>
      decide(offer, {
        firmware,
        pendingValidation: validation.pending,
        rebooting: rebooter.rebooting,
        allowDowngrade: config.update.allow_downgrade,
      }),
    clearTarget: async (signal) => firmware.clearTarget(signal),
    undo: async () => firmware.keepRunning(),
    onInstalled: async (offer, metadata) => firmware.noteInstalled(metadata.uuid, offer.origin),
    onNews,
    clock,
    log: log.scope("update"),
  });

  const status = () =>
    agentStatus({
      config,
      identity,
      firmware,
      fwupVersion: fwup,
      link: link.status,
      joined: device.joined,
      update: updater.status,
      lastUpdate,
      pendingValidation: validation.pending,
      nowMs: clock.now(),
      uptimeMs: clock.monotonic() - startedMs,
    });

  const control: ControlServer = await startControlServer({
    path: config.state.control_socket,
    mode: Number.parseInt(config.state.control_mode, 8),
    group: config.state.control_group,
    agentVersion: VERSION,
    methods: controlMethods({
      status,
      firmware,
      validation,
      updater,
      rebooter,
      fetching,
    }),
    log: log.scope("control"),
  }).catch(async (error: unknown) => {
    await validation.stop(); // its deadline is the only thing that runs by now
    throw error;
  });

  log.info("hublink started", { version: VERSION, identifier: identity.identifier, pid: process.pid });
  link.start();
  if (firmware.rebootOwed) rebooter.reboot("an update is installed and its reboot is missing");

  return {
    settled: async () => updater.settled(),
    async stop() {
      stopping = true;
      log.info("hublink stops");
      await Promise.all([
        rebooter.stop(),
        validation.stop(),
        updater.stop(FINISH_GRACE_MS).then(async () => link.stop()),
        control.stop(),
      ]);
    },
  };
}

/** Without fwup the board still connects, and says what is missing. */
async function fwupVersionOrNone({ config, clock, log }: AgentOptions): Promise<string | undefined> {
  try {
    return await fwupVersion({ fwup: config.firmware.fwup, clock });
  } catch (error) {
    log.error(`no update can be installed: ${messageOf(error)}`);
    return undefined;
  }
}
