/**
 * What the stand-in hub knows of one device, and keeps for a test's assertions: its joins, messages,
 * statuses, firmware, and the update it is busy with.
 */
import type { TokenBucket } from "../../src/platform/pace.ts";
import type { ComponentResult, Topology } from "./channels/components.ts";
import type { KeptError } from "./channels/error-reports.ts";
import type { Deployment } from "./deployments.ts";
import type { Release } from "./releases.ts";

/** A message a device sent, as the hub got it. */
export interface Received {
  /** The time by the hub's clock. */
  readonly atMs: number;
  readonly topic: unknown;
  readonly event: unknown;
  readonly payload: unknown;
  readonly joinRef: unknown;
  readonly ref: unknown;
}

/** The firmware a device reported with its join, keys without `nerves_fw_`. */
export type FirmwareMetadata = Readonly<Record<string, string>>;

interface StatusEntry {
  readonly atMs: number;
  /** A word of the hub's enumeration. */
  readonly status: UpdateStatus;
  readonly reason?: unknown;
  readonly delayForMs?: number;
}

interface ProgressEntry {
  readonly atMs: number;
  readonly stage: string;
  readonly value: number;
}

/** An update the hub believes the device to be busy with. */
export interface InFlight {
  /** Absent when the device reported an update that the hub does not know. */
  readonly uuid?: string;
  /** Absent when an operator pushed the update: then a failure has no penalty. */
  readonly deployment?: Deployment;
  /** Sent again, with a fresh URL, when the device asks for it. */
  readonly release?: Release;
  /** The device has said something of it. */
  answered?: boolean;
  status: UpdateStatus;
  progress: number | undefined;
  atMs: number;
}

/** NervesHub's closed enumeration; any other word crashes the channel. */
const UPDATE_STATUSES = [
  "requested",
  "rescheduled",
  "ignored",
  "received",
  "started",
  "downloading",
  "updating",
  "completed",
  "failed",
  "expired",
] as const;
export type UpdateStatus = (typeof UPDATE_STATUSES)[number];

export function isUpdateStatus(word: unknown): word is UpdateStatus {
  return (UPDATE_STATUSES as readonly unknown[]).includes(word);
}

/** Numbers that a device measured, those of its health reports too. */
interface Reading {
  /** When it measured them; for a health report, when that came. */
  readonly atMs: number;
  readonly metrics: Readonly<Record<string, number>>;
}

interface RaisedAlarm {
  readonly description: string | null;
  readonly raisedAtMs: number;
}

interface AlarmEntry {
  readonly atMs: number;
  readonly alarm: string;
  readonly event: "raised" | "resolved";
  readonly description: string | null;
}

/** All the hub knows of one device. */
export interface DeviceRecord {
  readonly identifier: string;
  /** The number in the internal topic `device:NUMBER`. */
  readonly id: number;
  /** A socket is open. */
  connected: boolean;
  /** Its `device` topic is joined. */
  online: boolean;
  /** Sockets opened so far. */
  connections: number;
  /** Payloads of its joins of `device`, oldest first. */
  readonly joins: unknown[];
  /** Undefined until a join came with uuid, product, architecture, version and platform. */
  firmware: FirmwareMetadata | undefined;
  validated: "validated" | "not_validated" | "unknown";
  autoRevertDetected: boolean;
  inFlight: InFlight | undefined;
  /** No deployment is offered before this, ms by the hub's clock. */
  blockedUntil: number | undefined;
  /** When the device first answered each update that a deployment sent it, by the hub's clock. */
  attempts: { readonly deployment: Deployment; readonly atMs: number }[];
  managed: ManagedUpdates;
  /** Every status word, those of progress messages left out. */
  readonly statuses: StatusEntry[];
  readonly progress: ProgressEntry[];
  /** The uuids of successful updates: each came in a join, and differs from the uuid of the join before. */
  readonly updated: string[];
  /** As NervesHub maps it: wifi, ethernet, cellular or unknown. */
  networkInterface: string | undefined;
  connectionTypes: unknown;
  /** The last 1024 lines that the device wrote to its console. */
  console: string;
  /** Extensions attached now. */
  readonly attached: Set<string>;
  /** The last 2000 readings, oldest first. */
  readonly metrics: Reading[];
  /** Those raised now, by name. */
  readonly alarms: Map<string, RaisedAlarm>;
  /** Raised and resolved, in the order in which the hub heard it. */
  readonly alarmHistory: AlarmEntry[];
  /** The errors that it reported. */
  readonly errors: KeptError[];
  /** What the hub dropped of an extension's messages: by its rate limit, or because it can't be used. */
  readonly dropped: { readonly extension: string; readonly what: string }[];
  /** The rate limits of its extensions, by name. */
  readonly buckets: Map<string, TokenBucket>;
  /** The metadata of its last health report. */
  metadata: unknown;
  /** The components that it reported last. */
  topology: Topology | undefined;
  /** The results of what was asked of components. */
  readonly componentResults: ComponentResult[];
  /** Every message from the device, oldest first. */
  readonly received: Received[];
  /** Channels it crashed, with the reason. */
  readonly crashes: { readonly topic: string; readonly why: string }[];
  /** Close codes of its sockets so far. */
  readonly closes: number[];
}

/** Who starts a device's updates, and how the hub answers when the device asks for one (device API 2.4.0). */
export interface ManagedUpdates {
  readonly mode: "automatic" | "device_managed" | "off";
  readonly allowed: boolean;
  /** Refuse requests as busy, for so many minutes. */
  readonly busyMinutes?: number;
}

export function createRecord(identifier: string, id: number): DeviceRecord {
  return {
    identifier,
    id,
    connected: false,
    online: false,
    connections: 0,
    joins: [],
    firmware: undefined,
    validated: "unknown",
    autoRevertDetected: false,
    inFlight: undefined,
    blockedUntil: undefined,
    attempts: [],
    managed: { mode: "automatic", allowed: false },
    statuses: [],
    progress: [],
    updated: [],
    networkInterface: undefined,
    connectionTypes: undefined,
    console: "",
    attached: new Set(),
    metrics: [],
    alarms: new Map(),
    alarmHistory: [],
    errors: [],
    dropped: [],
    buckets: new Map(),
    metadata: undefined,
    topology: undefined,
    componentResults: [],
    received: [],
    crashes: [],
    closes: [],
  };
}
