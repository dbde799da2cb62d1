/**
 * One topic of a device, as the stand-in hub's session sees it, and the part of the hub that a topic may use.
 */
import type { Cancel, Clock } from "../../../src/platform/clock.ts";
import { TokenBucket, type TokenRate } from "../../../src/platform/pace.ts";
import type { Deployment } from "../deployments.ts";
import type { DeviceRecord } from "../device-record.ts";

interface Reply {
  readonly status: "ok" | "error";
  readonly response: unknown;
}

/** One join of a topic. */
export interface Channel {
  /** The reply to the join. */
  readonly response: unknown;
  /** Sends the messages that follow the join's reply. */
  afterJoin(): void;
  /**
   * Takes a push of the device.
   * @throws ChannelCrash
   */
  handle(event: unknown, payload: unknown): Reply | undefined;
  /** The join has ended. */
  close(): void;
}

/** How a channel sends messages of its own, and what it knows. */
export interface ChannelContext {
  readonly record: DeviceRecord;
  /** Sends to the device with the topic's join_ref. */
  push(event: string, payload: unknown): void;
  /** Sends to the device with both refs null. */
  broadcast(event: string, payload: unknown): void;
  readonly hub: ChannelHub;
}

/** What the hub does with the reports of one extension, for one join. */
export interface Reader {
  /** Takes `EVENT` of the device's `NAME:EVENT`. */
  handle(event: string, payload: unknown): void;
  /** The extension was detached, or the join has ended. */
  close(): void;
}

/** Each extension has a bucket of its own for each device, across its connections (protocol §7.3). */
export function allowed({ record, hub }: ChannelContext, extension: string, rate: TokenRate): boolean {
  const bucket = record.buckets.get(extension) ?? new TokenBucket(rate, hub.clock);
  record.buckets.set(extension, bucket);
  return bucket.take();
}

/** The hub as channels see it. */
export interface ChannelHub {
  readonly clock: Clock;
  /** The hub's wall clock. */
  nowMs(): number;
  readonly publicKeys: readonly string[];
  /** The device API that the hub speaks. */
  readonly api: "2.3" | "2.4";
  /** The versions of each extension that is switched on, the newest first. */
  readonly extensions: ReadonlyMap<string, readonly string[]>;
  /** The deployment that fits the device. */
  deploymentFor(record: DeviceRecord): Deployment | undefined;
  /** The payload of an `update`; marks it in flight. */
  startUpdate(record: DeviceRecord, deployment: Deployment): unknown;
  /** The payload of an `update` that sends the one in flight again; undefined when none is, or it is not the hub's. */
  sendAgain(record: DeviceRecord): unknown;
  /** The payload of an `archive`. */
  archivePayload(deployment: Deployment): unknown;
}

/** Repeats `task` each `intervalMs` until cancelled. */
export function every(clock: Pick<Clock, "after">, intervalMs: number, task: () => void): Cancel {
  let cancel = clock.after(intervalMs, function tick(): void {
    cancel = clock.after(intervalMs, tick);
    task();
  });
  return () => cancel();
}
