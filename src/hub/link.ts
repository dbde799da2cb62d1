/**
 * The connection to the hub: made again for ever, with growing, random delays, until it is stopped, and the
 * topics that live on it. How long it waits is decided in retry-plan.ts.
 */
import { EventEmitter } from "node:events";
import { interfaceOf } from "../board/network-interface.ts";
import { sleep } from "../platform/clock.ts";
import { noteDefect } from "../platform/defects.ts";
import { messageOf } from "../platform/failure.ts";
import { redact } from "../platform/log.ts";
import type { BackoffOptions } from "../platform/pace.ts";
import type { World } from "../platform/world.ts";
import { Channel, type ChannelHandlers } from "./channel.ts";
import { connectFailure } from "./connect-error.ts";
import { type ConnectorOptions, HubConnector } from "./connector.ts";
import type { OpenedWebSocket } from "./handshake.ts";
import { type Ended, RetryPlan } from "./retry-plan.ts";
import type { Serializer } from "./serializer.ts";
import { PhoenixSocket } from "./socket.ts";

/** The state of the connection to the hub. */
export interface LinkStatus {
  readonly connection: "connected" | "connecting" | "disconnected";
  /** Why the last attempt failed or the last connection ended, until the next one is made. */
  readonly lastError: string | undefined;
  /** Wall-clock ms of the next attempt, while disconnected. */
  readonly nextAttemptMs: number | undefined;
  /** Monotonic ms at which the hub went away, or the agent began to look for it; undefined while connected. */
  readonly awaySinceMs: number | undefined;
  /** This end's address on the connection. */
  readonly localAddress: string | undefined;
  /** The encoding of this connection, or of the next. */
  readonly serializer: Serializer["name"];
}

export interface LinkOptions extends Omit<ConnectorOptions, "clock"> {
  readonly reconnect: Required<BackoffOptions>;
  readonly heartbeatMs: number;
  readonly world: World;
  /** Whether the hub sees a certificate of the board's. Default: no. */
  readonly clientCertificate?: boolean;
  /** Whether an address is one of the board's. Default: asks the system. */
  readonly hasAddress?: (localAddress: string) => boolean;
}

interface HubLinkEvents {
  status: [status: LinkStatus];
  /** The status differs from the one before in this. */
  connection: [connection: LinkStatus["connection"]];
}

/** Longer than TLS on a Pi Zero over a bad modem takes, shorter than a person's patience. */
export const HANDSHAKE_TIMEOUT_MS = 30_000;
const CLOSE_TIMEOUT_MS = 2000;

/** The connection to the hub, made again for ever until stopped. */
export class HubLink extends EventEmitter<HubLinkEvents> {
  readonly #options: LinkOptions;
  readonly #connector: HubConnector;
  readonly #plan: RetryPlan;
  readonly #channels = new Set<Channel>();
  /** Ends what the loop waits for; renewed for each attempt. */
  #wake = new AbortController();
  #stopped = false;
  #socket: PhoenixSocket | undefined;
  #running: Promise<void> | undefined;
  /** This end's address on the last connection. */
  #lastAddress: string | undefined;
  #status: LinkStatus;

  constructor(options: LinkOptions) {
    super();
    this.#options = options;
    this.#connector = new HubConnector({ ...options, clock: options.world.clock });
    this.#plan = new RetryPlan(options.reconnect, options.world.random);
    this.#status = {
      connection: "disconnected",
      lastError: undefined,
      nextAttemptMs: undefined,
      awaySinceMs: options.world.clock.monotonic(),
      localAddress: undefined,
      serializer: options.serializer.name,
    };
  }

  get status(): LinkStatus {
    return this.#status;
  }

  /** Wall-clock ms: the hub's as far as it is known and believed, else the board's, which may be wrong by decades. */
  hubTimeMs(): number {
    return this.#connector.hubTimeMs();
  }

  /** Adds a topic; joined in the order added, now and at each connection. */
  channel(topic: string, handlers: ChannelHandlers): Channel {
    const { reconnect, world, log } = this.#options;
    const spreadMs = Math.min(reconnect.maxMs, reconnect.spreadMs);
    const channel = new Channel({ topic, spreadMs, world, log, ...handlers });
    this.#channels.add(channel);
    if (this.#socket !== undefined) channel.attach(this.#socket);
    return channel;
  }

  /** Leaves a topic for good. */
  drop(channel: Channel): void {
    channel.leave();
    this.#channels.delete(channel);
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** True when the hub has surely read all that was pushed before. */
  async confirm(timeoutMs: number): Promise<boolean> {
    return (await this.#socket?.confirm(timeoutMs)) ?? false;
  }

  /** Ends the present connection, or the wait for the next, and connects at once. */
  reconnect(reason: string): void {
    this.#options.log.info(`connecting anew: ${reason}`);
    this.#wake.abort(new Error(reason));
    this.#socket?.terminate(reason);
  }

  /** Leaves the channels and closes with 1000, so that the hub shows the board offline at once. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake.abort(new Error("the agent stops"));
    for (const channel of this.#channels) channel.leave();
    await this.#socket?.close(1000, "the agent stops", CLOSE_TIMEOUT_MS);
    await this.#running;
    this.#setStatus({ connection: "disconnected", nextAttemptMs: undefined, localAddress: undefined });
  }

  async #run(): Promise<void> {
    const { log, world, clockGuard, clientCertificate = false } = this.#options;
    while (!this.#isStopped()) {
      this.#wake = new AbortController();
      let delayAfter: () => number;
      let lastError: string;
      try {
        const ended = await this.#connect();
        this.#plan.note(ended);
        delayAfter = () => this.#plan.afterEnd(ended, this.#addressGone());
        lastError = redact(`the connection ended: ${ended.reason || "no reason given"} (${ended.code})`);
      } catch (error) {
        delayAfter = () => this.#plan.afterFailure(error, this.#addressGone());
        lastError = redact(
          connectFailure(error, { clockDoubt: clockGuard?.doubt, clientCertificate }).message,
        );
      }
      if (this.#isStopped()) return;
      const woken = this.#wake.signal.aborted;
      const delayMs = woken ? 0 : delayAfter();
      if (!woken && this.#plan.hasTwin)
        lastError = "another device with this identifier is connected to the hub";
      log.warn(`no hub: ${lastError}`, { retry_in_s: Math.round(delayMs / 100) / 10 });
      this.#setStatus({
        connection: "disconnected",
        lastError,
        localAddress: undefined,
        nextAttemptMs: world.clock.now() + delayMs,
      });
      try {
        await sleep(world.clock, delayMs, this.#wake.signal);
      } catch {
        // woken: to connect at once, or to stop
      }
    }
  }

  /** A call: TypeScript would take the field for unchanged after an `await`. */
  #isStopped(): boolean {
    return this.#stopped;
  }

  /** Runs one connection from its first packet to its end. */
  async #connect(): Promise<Ended> {
    this.#setStatus({ connection: "connecting", nextAttemptMs: undefined });
    const { signal } = this.#wake;
    const opened = await this.#connector.open(signal);
    if (signal.aborted) {
      opened.webSocket.terminate();
      throw signal.reason as Error;
    }
    return await this.#attend(opened);
  }

  /** Has the topics live on an open connection until it ends. */
  async #attend({ webSocket, localAddress }: OpenedWebSocket): Promise<Ended> {
    const { world, heartbeatMs, log } = this.#options;
    const { clock } = world;
    const openedMs = clock.monotonic();
    const { serializer } = this.#connector;
    const socket = new PhoenixSocket({ webSocket, serializer, clock, heartbeatMs, log });
    socket.on("frame", (frame) => {
      for (const channel of this.#channels) if (channel.topic === frame.topic) channel.handle(frame);
    });
    return await new Promise<Ended>((resolve) => {
      socket.once("close", (closed) => {
        this.#socket = undefined;
        for (const channel of this.#channels) channel.detach();
        resolve({ ...closed, lastedMs: clock.monotonic() - openedMs });
      });
      this.#socket = socket;
      this.#lastAddress = localAddress;
      this.#setStatus({ connection: "connected", lastError: undefined, localAddress });
      for (const channel of this.#channels) channel.attach(socket);
    });
  }

  /** The board's own network has changed: other boards are not concerned, and the hub may be there. */
  #addressGone(): boolean {
    const { hasAddress = (address: string) => interfaceOf(address) !== undefined } = this.#options;
    return this.#lastAddress !== undefined && !hasAddress(this.#lastAddress);
  }

  #setStatus(changes: Partial<Omit<LinkStatus, "serializer" | "awaySinceMs">>): void {
    const { connection: before, awaySinceMs = this.#options.world.clock.monotonic() } = this.#status;
    const { connection = before } = changes;
    this.#status = {
      ...this.#status,
      ...changes,
      awaySinceMs: connection === "connected" ? undefined : awaySinceMs,
      serializer: this.#connector.serializer.name,
    };
    this.#notify(() => this.emit("status", this.#status));
    if (connection !== before) this.#notify(() => this.emit("connection", connection));
  }

  /** An observer's error must not end the connection. */
  #notify(emit: () => void): void {
    try {
      emit();
    } catch (error) {
      noteDefect(error, "hub");
      this.#options.log.error(`reporting the connection: ${messageOf(error)}`);
    }
  }
}
