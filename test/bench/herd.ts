/**
 * The herd: 10,000 boards that lose their hub at the same moment, each one a real HubLink on a simulated clock and
 * over simulated sockets. Measured is how evenly they come back.
 */
import { EventEmitter } from "node:events";
import type { WebSocket } from "ws";
import { schema } from "../../src/config/schema.ts";
import { HandshakeRefused, type OpenedWebSocket } from "../../src/hub/handshake.ts";
import { HubLink } from "../../src/hub/link.ts";
import { jsonSerializer } from "../../src/hub/serializer.ts";
import type { Log } from "../../src/platform/log.ts";
import { systemWorld } from "../../src/platform/world.ts";
import { HerdClock } from "./herd-clock.ts";
import { createRandom } from "../torture/random.ts";
import type { Row } from "./table.ts";

/** What happens to the hub. */
export interface Scenario {
  readonly name: string;
  /** How long the hub takes no connection after it has closed all of them. */
  readonly awayS: number;
  /** Handshakes that the hub takes in a second; it refuses the others. */
  readonly perSecond?: number;
  /** The connections hold, and only the topics are lost. */
  readonly topicsOnly?: boolean;
}

const SCENARIOS: readonly Scenario[] = [
  { name: "restart", awayS: 0 },
  { name: "30 s away", awayS: 30 },
  { name: "2 min away", awayS: 120 },
  { name: "1 h away", awayS: 3600 },
  { name: "restart, takes 100/s", awayS: 0, perSecond: 100 },
  { name: "30 s away, takes 100/s", awayS: 30, perSecond: 100 },
  { name: "topics lost", awayS: 0, topicsOnly: true },
];

/** How a fleet came back. Seconds count from when the hub was there again. */
export interface Return {
  /** Attempts in each second. */
  readonly attempts: readonly number[];
  /** When each board was back, ascending. */
  readonly backS: readonly number[];
}

const { entries } = schema.entries.hub.entries.reconnect;
const RECONNECT = {
  minMs: entries.min_s.initial * 1000,
  maxMs: entries.max_s.initial * 1000,
  spreadMs: entries.spread_s.initial * 1000,
  jitter: entries.jitter.initial,
};
const HEARTBEAT_MS = 30_000;
/** All boards have held their connections for longer than a minute, and their heartbeats have any phase. */
const BEFORE_MS = 120_000;
const SECOND_MS = 1000;
/** Repeats a run to the last attempt. */
const SEED = 1;
const QUIET: Log = {
  error: () => undefined,
  warn: () => undefined,
  info: () => undefined,
  debug: () => undefined,
  scope: () => QUIET,
};

/** The hub's end of all connections. */
class SimulatedHub {
  readonly joinedMs: number[] = [];
  readonly attemptsMs: number[] = [];
  readonly #clock: HerdClock;
  readonly #sockets = new Set<SimulatedSocket>();
  #perSecond = Infinity;
  #thereAtMs = 0;
  #second = 0;
  #taken = 0;

  constructor(clock: HerdClock) {
    this.#clock = clock;
  }

  /** Loses all boards at once. */
  fail({ awayS, perSecond = Infinity, topicsOnly = false }: Scenario): void {
    this.#thereAtMs = this.#clock.monotonic() + awayS * SECOND_MS;
    this.#perSecond = perSecond;
    this.attemptsMs.length = 0;
    this.joinedMs.length = 0;
    for (const socket of [...this.#sockets]) {
      if (topicsOnly) socket.receive([null, null, "device", "phx_error", {}]);
      else socket.end(1012);
    }
  }

  async open(): Promise<OpenedWebSocket> {
    const nowMs = this.#clock.monotonic();
    this.#count(this.attemptsMs);
    await Promise.resolve();
    if (nowMs < this.#thereAtMs)
      throw Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
    const second = Math.floor(nowMs / SECOND_MS);
    if (second !== this.#second) this.#taken = 0;
    this.#second = second;
    if (this.#taken >= this.#perSecond) throw new HandshakeRefused(503, {});
    this.#taken += 1;
    const socket = new SimulatedSocket(() => this.#count(this.joinedMs));
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    // PhoenixSocket uses what SimulatedSocket has.
    return {
      webSocket: socket as unknown as WebSocket,
      localAddress: undefined,
      dateMs: undefined,
      certificateEndsMs: undefined,
    };
  }

  #count(list: number[]): void {
    const sinceMs = this.#clock.monotonic() - this.#thereAtMs;
    if (sinceMs >= 0) list.push(sinceMs);
  }
}

/** The part of ws's WebSocket that the agent uses once it is open. */
class SimulatedSocket extends EventEmitter {
  readonly OPEN = 1;
  readonly url = "ws://hub.test";
  readonly bufferedAmount = 0;
  readonly isPaused = false;
  readyState = this.OPEN;
  readonly #onJoined: () => void;

  constructor(onJoined: () => void) {
    super();
    this.#onJoined = onJoined;
  }

  /** Answers joins and heartbeats. */
  send(text: string): void {
    const [joinRef, ref, topic, event] = JSON.parse(text) as [string | null, string, string, string, unknown];
    if (event === "phx_join") this.#onJoined();
    queueMicrotask(() => this.receive([joinRef, ref, topic, "phx_reply", { status: "ok", response: {} }]));
  }

  receive(frame: readonly unknown[]): void {
    this.emit("message", Buffer.from(JSON.stringify(frame)), false);
  }

  end(code: number): void {
    if (this.readyState !== this.OPEN) return;
    this.readyState = 3;
    this.emit("close", code, Buffer.alloc(0));
  }

  close(code: number): void {
    this.end(code);
  }

  terminate(): void {
    this.end(1006);
  }

  pause(): void {
    // nothing comes by itself
  }

  resume(): void {
    // nothing comes by itself
  }
}

/** Plays one scenario with a fleet that is connected to the hub, until all of it is back. */
export async function comeBack(boards: number, scenario: Scenario, reconnect = RECONNECT): Promise<Return> {
  const random = createRandom(SEED);
  const clock = new HerdClock();
  const hub = new SimulatedHub(clock);
  const request = {
    url: new URL("ws://hub.test"),
    headers: {},
    tls: undefined,
    compress: false,
    timeoutMs: 30_000,
  };
  for (let board = 0; board < boards; board += 1) {
    const link = new HubLink({
      request: async () => Promise.resolve(request),
      open: async () => hub.open(),
      serializer: jsonSerializer,
      reconnect,
      heartbeatMs: HEARTBEAT_MS,
      world: { ...systemWorld, clock, random: () => random.next() },
      log: QUIET,
    });
    link.channel("device", {
      joinPayload: () => ({}),
      onJoined: () => undefined,
      onMessage: () => undefined,
    });
    clock.after(random.next() * HEARTBEAT_MS, () => link.start());
  }
  await clock.advance(HEARTBEAT_MS + BEFORE_MS);
  if (hub.joinedMs.length !== boards) throw new Error("not all boards are connected");
  hub.fail(scenario);
  await clock.advance(scenario.awayS * SECOND_MS);
  while (hub.joinedMs.length < boards) await clock.advance(SECOND_MS);
  const attempts: number[] = [];
  for (const atMs of scenario.topicsOnly ? hub.joinedMs : hub.attemptsMs) {
    const second = Math.floor(atMs / SECOND_MS);
    attempts[second] = (attempts[second] ?? 0) + 1;
  }
  return {
    attempts: Array.from(attempts, (count: number | undefined) => count ?? 0),
    backS: hub.joinedMs.map((ms) => ms / SECOND_MS),
  };
}

/** Attempts in the busiest second over the mean of the time in which the fleet comes back. */
export function peakOverMean({ attempts, backS }: Return): { peak: number; mean: number; mostBackS: number } {
  const mostBackS = backS[Math.floor(backS.length * MOST)] ?? NaN;
  const overS = Math.ceil(Math.max(mostBackS, RECONNECT.spreadMs / SECOND_MS));
  const sum = attempts.slice(0, overS).reduce((total, count) => total + count, 0);
  return { peak: Math.max(...attempts), mean: sum / overS, mostBackS };
}

/** The last few boards would make the mean small, and the ratio a matter of luck. */
const MOST = 0.99;
const GOAL = 2;
const TWO_MINUTES_S = 120;

/** How a fleet came back in one scenario. */
export interface HerdResult {
  readonly scenario: string;
  readonly boards: number;
  /** Attempts in the busiest second. */
  readonly peak: number;
  /** The mean of attempts a second, and that of the first two minutes. */
  readonly mean: number;
  readonly twoMinutesMean: number;
  /** How long a board is away on average, counted from when the hub is there again, and when 99 % are back. */
  readonly awayS: number;
  readonly mostBackS: number;
}

/** Plays all scenarios. */
export async function playHerd(boards: number): Promise<HerdResult[]> {
  const results: HerdResult[] = [];
  for (const scenario of SCENARIOS) {
    const back = await comeBack(boards, scenario);
    const twoMinutes = back.attempts.slice(0, TWO_MINUTES_S).reduce((total, count) => total + count, 0);
    results.push({
      scenario: scenario.name,
      boards,
      ...peakOverMean(back),
      twoMinutesMean: twoMinutes / TWO_MINUTES_S,
      awayS: back.backS.reduce((total, second) => total + second, 0) / boards,
    });
  }
  return results;
}

/** The rows of the bench's table. */
export function herdRows(results: readonly HerdResult[]): Row[] {
  return results.map(({ scenario, peak, mean, twoMinutesMean, awayS, mostBackS }) => ({
    ratio: peak / mean,
    goal: { below: GOAL },
    what: scenario,
    measured: `${peak}/s`,
    against: `${Math.round(mean)}/s (2 min: ${Math.round(twoMinutesMean)}), back ${awayS.toFixed(1)} s, 99 % ${Math.round(mostBackS)} s`,
  }));
}
