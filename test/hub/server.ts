/**
 * The stand-in for NervesHub: one hub, in the test's own process. It answers as the real server was recorded
 * to (transcripts.test.ts replays the recordings), lets a test play the operator, and records what each
 * device sends. Its faults make it misbehave on purpose.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import { WebSocketServer } from "ws";
import { systemClock, type Clock } from "../../src/platform/clock.ts";
import type { ChannelHub } from "./channels/channel.ts";
import { membersOf, type ComponentResult, type Member } from "./channels/components.ts";
import { isMap } from "./crash.ts";
import { fits, isDue, type Deployment } from "./deployments.ts";
import { pushesUpdates, updateMode } from "./channels/managed-updates.ts";
import { createRecord, type DeviceRecord, type ManagedUpdates, type Received } from "./device-record.ts";
import { createDownloadServer, type DownloadEntry } from "./download-server.ts";
import { FaultBox } from "./faults.ts";
import type { Frame } from "./frames.ts";
import { listen } from "./listener.ts";
import type { SharedSecret } from "./nh1.ts";
import { archivePayload, readRelease, updatePayload, type FirmwareMeta, type Release } from "./releases.ts";
import { Session, type SessionHub } from "./session.ts";
import { certificateCheck, createTlsFront, type TlsOptions } from "./tls-front.ts";
import { admit, redirectToWeb, type Refusal } from "./upgrade.ts";
import { createWaiting } from "./waiting.ts";

export interface HubOptions {
  /** Default: one that is free. */
  readonly port?: number;
  /** Default: plain HTTP, as NervesHub behind a proxy. */
  readonly tls?: TlsOptions;
  /** The server of firmware. It has TLS when the hub has, but never asks for client certificates. */
  readonly downloads?: { readonly port?: number; readonly tls?: boolean };
  readonly clock?: Clock;
  /** How far the hub's wall clock is ahead of `clock`. */
  readonly clockSkewMs?: number;
  /** The shared secrets by their keys: `nhp_…` of a product, or the key of one device with its identifier. */
  readonly secrets?: Readonly<Record<string, SharedSecret>>;
  /** The organisation's signing keys, base64 Ed25519. */
  readonly publicKeys?: readonly string[];
  /** The age of the hub: `2.3` as it was recorded, `2.4` as NervesHub is since September 2026. Default 2.3. */
  readonly api?: HubApi;
  /** Default: all that NervesHub knows. */
  readonly extensions?: readonly string[];
  /** The serializers (`vsn`) that the hub speaks; it refuses others with 403. Default: those of NervesHub. */
  readonly vsns?: readonly string[];
  /** How long a firmware URL is valid. Default 10 minutes. */
  readonly urlLifetimeMs?: number;
  /** Called with every event. */
  readonly onEvent?: (event: HubEvent) => void;
}

export type HubEvent =
  | { readonly kind: "connected" | "refused"; readonly identifier: string; readonly text: string }
  | { readonly kind: "closed"; readonly identifier: string; readonly code: number }
  | { readonly kind: "received" | "sent"; readonly identifier: string; readonly frame: Frame }
  | { readonly kind: "download"; readonly entry: DownloadEntry };

export type HubApi = ChannelHub["api"];

interface DeployOptions {
  readonly archive?: Release;
  readonly connectingCode?: string;
  /** Default 24 h. */
  readonly penaltyMs?: number;
  readonly inJoinReply?: boolean;
}

/** A NervesHub that runs in the test's own process. */
export interface Hub {
  readonly port: number;
  /** `ws://127.0.0.1:PORT` or `wss://localhost:PORT`. */
  readonly url: string;
  readonly downloadUrl: string;
  readonly faults: FaultBox;
  /** Requests of the download server, oldest first. */
  readonly downloads: readonly DownloadEntry[];
  /** The identifiers of the devices that have connected so far. */
  readonly devices: readonly string[];
  /** The hub's wall clock, ms. */
  nowMs(): number;
  /** The hub's record of a device; an empty one when the device never connected. */
  device(identifier: string): DeviceRecord;
  /** Serves a firmware file. @throws the file system's error */
  publish(path: string, meta: FirmwareMeta): Promise<Release>;
  /** A fresh signed URL of a release. */
  urlOf(release: Release): string;
  /** An operator's update: in flight without a deployment. `overrides` of undefined leave keys out. */
  pushUpdate(identifier: string, release: Release, overrides?: Readonly<Record<string, unknown>>): void;
  /** Gives a release to every device it fits: to those online now, to others when they join. */
  deploy(release: Release, options?: DeployOptions): Deployment;
  /** Ends every deployment. */
  undeploy(): void;
  /** Offers deployments to the devices that are due, as NervesHub's orchestrator does from time to time. */
  offer(): void;
  /** Calls the listener with every message of a device from now on. @returns a function that ends this */
  follow(identifier: string, listener: (message: Received) => void): () => void;
  send(identifier: string, topic: string, event: string, payload: unknown): void;
  /** Sends any frame as it is. */
  sendRaw(identifier: string, data: string | Buffer): void;
  /**
   * Runs a support script on a device.
   * @returns the text that NervesHub shows: output and return value, trimmed
   * @throws when no answer comes
   */
  runScript(identifier: string, text: string): Promise<string>;
  /**
   * A person presses a button of a component.
   * @returns the result that the page shows
   * @throws when the device has reported no such action, or does not answer
   */
  runAction(identifier: string, component: string, action: string): Promise<ComponentResult>;
  /** The same for the value of a mode. */
  setMode(identifier: string, component: string, mode: string, value: string): Promise<ComponentResult>;
  /** Changes who starts a device's updates, and tells it. */
  manageUpdates(identifier: string, managed: ManagedUpdates): void;
  reboot(identifier: string): void;
  identify(identifier: string): void;
  /** Closes the socket; 1001 by default, as when an operator asks the device to reconnect. */
  disconnect(identifier: string, code?: number): void;
  /** Ends the connection with no closing handshake. */
  terminate(identifier: string): void;
  crashChannel(identifier: string, topic: string): void;
  /**
   * The first message of the device that matches, also one that is already there.
   * @param from messages before this index of `device(identifier).received` don't count
   */
  waitFor(
    identifier: string,
    predicate: (message: Received) => boolean,
    from?: number,
    timeoutMs?: number,
  ): Promise<Received>;
  /** Waits until a condition on the hub's state holds. The condition is checked after each event. */
  until(condition: () => boolean, timeoutMs?: number): Promise<void>;
  /** Ends all connections, timers and waits. */
  stop(): Promise<void>;
}

const DAY_MS = 86_400_000;
const MAX_FRAME_BYTES = 100 * 1024 * 1024;
/** The versions of each extension that a hub of this age has, the newest first. */
const KNOWN_EXTENSIONS: Readonly<Record<HubApi, Readonly<Record<string, readonly string[]>>>> = {
  "2.3": {
    geo: ["0.0.1"],
    health: ["0.0.1"],
    local_shell: ["0.0.1"],
    logging: ["0.0.1"],
    network_identity: ["0.0.1"],
  },
  "2.4": {
    alarms: ["0.1.0"],
    components: ["0.0.1"],
    error_reports: ["0.1.0"],
    geo: ["0.0.1"],
    health: ["0.0.1"],
    local_shell: ["0.0.1"],
    logging: ["0.1.0", "0.0.1"],
    metrics: ["0.1.0"],
    network_identity: ["0.0.1"],
  },
};

/** Starts a hub on 127.0.0.1. @throws the system's error, such as `EADDRINUSE` */
export async function startHub(options: HubOptions = {}): Promise<Hub> {
  const clock = options.clock ?? systemClock;
  const nowMs = (): number => clock.now() + (options.clockSkewMs ?? 0);
  const tell = options.onEvent ?? ((): undefined => undefined);
  const secrets = new Map(Object.entries(options.secrets ?? {}));
  const faults = new FaultBox();
  const waiting = createWaiting();
  const records = new Map<string, DeviceRecord>();
  const followers = new Map<string, Set<(message: Received) => void>>();
  const sessions = new Map<string, Session>();
  let deployments: Deployment[] = [];
  let deploymentCount = 0;
  let scriptCount = 0;
  let componentCount = 0;

  const device = (identifier: string): DeviceRecord => {
    const record = records.get(identifier) ?? createRecord(identifier, records.size + 1);
    records.set(identifier, record);
    return record;
  };
  const files = createDownloadServer({
    clock,
    nowMs,
    faults,
    onChange: (entry) => {
      tell({ kind: "download", entry });
      waiting.changed();
    },
    onBytes: () => waiting.changed(),
  });
  const urlOf = (release: Release): string =>
    files.sign(release, downloadUrl, options.urlLifetimeMs ?? 600_000);

  const api = options.api ?? "2.3";
  const channelHub: ChannelHub = {
    clock,
    nowMs,
    publicKeys: options.publicKeys ?? [],
    api,
    extensions: new Map(
      Object.entries(KNOWN_EXTENSIONS[api]).filter(([name]) => options.extensions?.includes(name) ?? true),
    ),
    deploymentFor: (record) => deployments.find((deployment) => fits(deployment, record)),
    startUpdate(record, deployment) {
      const { release } = deployment;
      const { uuid } = release.meta;
      record.inFlight = {
        uuid,
        deployment,
        release,
        status: "requested",
        progress: undefined,
        atMs: nowMs(),
      };
      return updatePayload(release, urlOf(release), deployment.id);
    },
    sendAgain({ inFlight }) {
      const release = inFlight?.release;
      return release && updatePayload(release, urlOf(release), inFlight.deployment?.id ?? null);
    },
    archivePayload: ({ archive }) =>
      archive === undefined ? {} : archivePayload(archive, urlOf(archive), nowMs()),
  };
  const sessionHub: SessionHub = {
    ...channelHub,
    clock,
    faults,
    onFrame(record, kind, frame) {
      const message = record.received.at(-1);
      if (kind === "received" && message !== undefined) {
        for (const listener of followers.get(record.identifier) ?? []) listener(message);
      }
      tell({ kind, identifier: record.identifier, frame });
    },
    onChange: () => waiting.changed(),
    onTopics(session) {
      const { record } = session;
      if (sessions.get(record.identifier) === session) record.online = session.hasJoined("device");
    },
    onClose(session, code) {
      const { record } = session;
      record.closes.push(code);
      if (sessions.get(record.identifier) === session) {
        sessions.delete(record.identifier);
        record.connected = false;
      }
      tell({ kind: "closed", identifier: record.identifier, code });
      waiting.changed();
    },
  };

  const date = (): string => new Date(nowMs()).toUTCString();
  const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: true,
    maxPayload: MAX_FRAME_BYTES,
  });
  sockets.on("headers", (headers) => {
    headers.push(`date: ${date()}`, "cache-control: max-age=0, private, must-revalidate");
    faults.apply("headers", headers);
  });

  const refuse = (socket: Duplex, refusal: Refusal): void => {
    const headers = {
      date: date(),
      "content-length": String(Buffer.byteLength(refusal.body)),
      vary: "accept-encoding",
      "cache-control": "max-age=0, private, must-revalidate",
      connection: "close",
      ...refusal.headers,
    };
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
    socket.end(`HTTP/1.1 ${refusal.status} Refused\r\n${lines.join("\r\n")}\r\n\r\n${refusal.body}`);
    tell({ kind: "refused", identifier: "?", text: `${refusal.status} ${refusal.body}`.trim() });
    waiting.changed();
  };
  const asksCertificates = (options.tls?.clientCertificates ?? "none") !== "none";
  const upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const certificate =
      asksCertificates && socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined;
    const [fault] = faults.apply("upgrade", request);
    const verdict =
      fault ??
      admit(request, {
        isDeviceEndpoint: asksCertificates,
        certificate,
        secrets,
        vsns: options.vsns,
        nowMs: nowMs(),
      });
    if ("status" in verdict) {
      refuse(socket, verdict);
      return;
    }
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      const record = device(verdict.identifier);
      sessions.get(record.identifier)?.close(1001);
      record.connected = true;
      record.online = false;
      record.connections += 1;
      const session = new Session(webSocket, record, verdict.serializer, sessionHub);
      sessions.set(record.identifier, session);
      tell({ kind: "connected", identifier: record.identifier, text: request.url ?? "" });
      waiting.changed();
    });
  };
  const setDate = (response: ServerResponse): void => {
    response.sendDate = false;
    response.setHeader("date", date());
  };

  const front = (tls: TlsOptions) => createTlsFront(tls, certificateCheck(tls, nowMs));
  const listener = await listen({
    port: options.port ?? 0,
    tls: options.tls && front(options.tls),
    faults,
    upgrade,
    request(request, response) {
      setDate(response);
      const { status, headers } = redirectToWeb(request);
      response.writeHead(status, { "content-length": "0", ...headers }).end();
    },
  });
  const downloadsTls =
    (options.downloads?.tls ?? true) && options.tls
      ? front({ ...options.tls, clientCertificates: "none" })
      : undefined;
  const downloadListener = await listen({
    port: options.downloads?.port ?? 0,
    tls: downloadsTls,
    faults,
    request(request, response, raw) {
      setDate(response);
      void files.handle(request, response, raw);
    },
  });
  const downloadUrl = `${downloadsTls ? "https://localhost" : "http://127.0.0.1"}:${downloadListener.port}`;

  const session = (identifier: string): Session => {
    const found = sessions.get(identifier);
    if (found === undefined) throw new Error(`${identifier} is not connected`);
    return found;
  };
  const send: Hub["send"] = (identifier, topic, event, payload) =>
    session(identifier).send(topic, event, payload);
  const member = (identifier: string, component: string): Member => {
    const { topology } = device(identifier);
    const members = topology === undefined ? [] : membersOf(topology);
    const found = members.find((known) => known.identifier === component);
    if (found === undefined) throw new Error(`${identifier} has no component ${component}`);
    return found;
  };
  const componentRequest = async (
    identifier: string,
    event: string,
    payload: Readonly<Record<string, string>>,
  ): Promise<ComponentResult> => {
    componentCount += 1;
    const ref = `component-${componentCount}`;
    send(identifier, "extensions", event, { ref, ...payload });
    return waiting.until(
      () => device(identifier).componentResults.find((result) => result["ref"] === ref),
      () => `${identifier} did not answer ${event}`,
    );
  };
  const offer = (): void => {
    for (const [identifier, { record }] of sessions) {
      const deployment = channelHub.deploymentFor(record);
      if (!record.online || !pushesUpdates(record)) continue;
      if (deployment !== undefined && isDue(deployment, record, nowMs())) {
        send(identifier, "device", "update", channelHub.startUpdate(record, deployment));
      }
    }
  };

  return {
    port: listener.port,
    url: `${options.tls ? "wss://localhost" : "ws://127.0.0.1"}:${listener.port}`,
    downloadUrl,
    faults,
    downloads: files.entries,
    get devices() {
      return [...records.keys()];
    },
    nowMs,
    device,
    async publish(path, meta) {
      const release = await readRelease(path, meta);
      files.add(release);
      return release;
    },
    urlOf,
    pushUpdate(identifier, release, overrides = {}) {
      const { uuid } = release.meta;
      const record = device(identifier);
      send(identifier, "device", "update", {
        ...updatePayload(release, urlOf(release), null),
        ...overrides,
      });
      record.inFlight = { uuid, release, status: "requested", progress: undefined, atMs: nowMs() };
    },
    deploy(release, { archive, connectingCode, penaltyMs = DAY_MS, inJoinReply = false } = {}) {
      deploymentCount += 1;
      const deployment: Deployment = {
        id: deploymentCount,
        release,
        ...(archive !== undefined && { archive }),
        ...(connectingCode !== undefined && { connectingCode }),
        penaltyMs,
        inJoinReply,
      };
      deployments = [deployment, ...deployments];
      offer();
      return deployment;
    },
    undeploy() {
      deployments = [];
    },
    offer,
    follow(identifier, listener) {
      const listeners = followers.get(identifier) ?? new Set();
      followers.set(identifier, listeners.add(listener));
      return () => listeners.delete(listener);
    },
    send,
    sendRaw: (identifier, data) => session(identifier).sendRaw(data),
    async runScript(identifier, text) {
      const { received } = device(identifier);
      const from = received.length;
      const ref = `script-${(scriptCount += 1)}`;
      send(identifier, "device", "scripts/run", { text, ref });
      const answer = await waiting.until(
        () =>
          received
            .slice(from)
            .map(({ event, payload }) => (event === "scripts/run" && isMap(payload) ? payload : {}))
            .find((payload) => payload["ref"] === ref),
        () => `${identifier} did not answer the script`,
      );
      return [answer["output"], answer["return"]].join("\n").trim();
    },
    async runAction(identifier, component, action) {
      if (!member(identifier, component).actions.some((known) => known.identifier === action)) {
        throw new Error(`${component} has no action ${action}`);
      }
      return componentRequest(identifier, "components:action:run", { component, action });
    },
    async setMode(identifier, component, mode, value) {
      const found = member(identifier, component).modes.find((known) => known.identifier === mode);
      if (found?.values.includes(value) !== true) throw new Error(`${mode} of ${component} has no ${value}`);
      return componentRequest(identifier, "components:mode:set", { component, mode, value });
    },
    manageUpdates(identifier, managed) {
      const record = device(identifier);
      record.managed = managed;
      if (api === "2.4" && record.online) send(identifier, "device", "update_mode", updateMode(record));
    },
    reboot: (identifier) => send(identifier, "device", "reboot", {}),
    identify: (identifier) => send(identifier, "device", "identify", {}),
    disconnect: (identifier, code = 1001) => session(identifier).close(code),
    terminate: (identifier) => session(identifier).terminate(),
    crashChannel: (identifier, topic) => session(identifier).crashChannel(topic),
    async waitFor(identifier, predicate, from = 0, timeoutMs) {
      const record = device(identifier);
      return waiting.until(
        () => record.received.slice(from).find(predicate),
        () => {
          const last = record.received.slice(-5).map(({ topic, event, payload }) => {
            return JSON.stringify([topic, event, payload]).slice(0, 200);
          });
          return `${identifier} sent no such message; its last ones:\n${last.join("\n")}`;
        },
        timeoutMs,
      );
    },
    async until(condition, timeoutMs) {
      await waiting.until(
        () => condition() || undefined,
        () => `not so: ${condition.toString()}`,
        timeoutMs,
      );
    },
    async stop() {
      for (const open of sessions.values()) open.terminate();
      await Promise.all([listener.stop(), downloadListener.stop()]);
      sockets.close();
      waiting.stop();
    },
  };
}
