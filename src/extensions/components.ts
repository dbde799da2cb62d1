/**
 * The extension `components`: shows the hub which parts the board has, and carries out what people ask of them with a
 * button or a choice on the device's page, in place of a shell. Rule: each request gets one result, and a component does
 * one thing at a time. The connection may go in between, because the request was to restart the network: the work goes
 * on, and its result is sent on the next connection.
 */
import { isDeepStrictEqual } from "node:util";
import * as v from "valibot";
import type { Clock } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { Limiter } from "../platform/pace.ts";
import { shortened } from "../platform/text.ts";
import type { ApplicationComponents } from "./application-components.ts";
import { type Assembly, type Component, type ComponentResult, reportOf, valueKey } from "./component.ts";
import type { Extension, ExtensionContext, RunningExtension } from "./extension.ts";

export interface ComponentsOptions {
  readonly configured: readonly Component[];
  readonly declared: ApplicationComponents;
  readonly clock: Clock;
  readonly log: Log;
}

/** NervesHub's own limit, for each text of a result. */
const MAX_OUTPUT = 8192;
const MAX_AT_ONCE = 4;
const REFUSAL_RATE = { perSecond: 1, burst: 20 };
/** Results that wait for the next connection: the newest. */
const MAX_KEPT = 8;
/** Changes within this go into one report, so that an application that declares in a loop floods nobody. */
const CHANGE_PAUSE_MS = 1000;
/** Values that are younger are not read again. */
const VALUES_AGE_MS = 10_000;
/** What can't be read within this is left out of a health report. */
const VALUES_MS = 10_000;

/** The hub's own limit for names. */
const word = v.pipe(v.string(), v.maxLength(200));
const ActionRun = v.object({ ref: word, component: word, action: word });
const ModeSet = v.object({ ref: word, component: word, mode: word, value: word });

interface KeptResult {
  readonly event: string;
  readonly payload: object;
}

export class Components implements Extension {
  readonly name = "components";
  readonly versions = ["0.0.1"] as const;
  readonly #options: ComponentsOptions;
  readonly #stopping = new AbortController();
  readonly #refusals: Limiter;
  /** By the identifiers of the components that are at work. */
  readonly #running = new Map<string, Promise<void>>();
  #context: ExtensionContext | undefined;
  /** What the hub has on this connection. */
  #reported: object | undefined;
  #changePending = false;
  #kept: KeptResult[] = [];
  #values: { readonly read: Promise<Readonly<Record<string, string>>>; readonly atMs: number } | undefined;
  #lastValues: Readonly<Record<string, string>> = {};

  constructor(options: ComponentsOptions) {
    this.#options = options;
    this.#refusals = new Limiter(REFUSAL_RATE, options.clock);
    options.declared.on("changed", () => {
      this.#values = undefined;
      this.#changed();
    });
  }

  start(context: ExtensionContext): RunningExtension {
    this.#context = context;
    this.#reported = undefined;
    this.#changePending = false;
    context.clock.after(0, () => this.#sendKept());
    return {
      onMessage: (event, payload) => this.#handle(event, payload),
      stop: () => {
        if (this.#context === context) this.#context = undefined; // it may be attached again already
      },
    };
  }

  /** The value of each mode by its {@link valueKey}, for the health report; those that can't be read are left out. */
  async values(): Promise<Readonly<Record<string, string>>> {
    const nowMs = this.#options.clock.monotonic();
    if (this.#values === undefined || nowMs - this.#values.atMs >= VALUES_AGE_MS) {
      this.#values = { read: this.#readValues(), atMs: nowMs };
    }
    return this.#values.read;
  }

  /** Ends what is at work; its results reach nobody. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error("the agent stops"));
    await Promise.all(this.#running.values());
  }

  get #assemblies(): readonly Assembly[] {
    const { configured, declared } = this.#options;
    return [
      { identifier: "board", label: "Board", components: configured },
      { identifier: "application", label: "Application", components: declared.components },
    ];
  }

  get #components(): readonly Component[] {
    return this.#assemblies.flatMap(({ components }) => components);
  }

  #handle(event: string, payload: unknown): void {
    switch (event) {
      case "request":
        this.#report(true);
        break;
      case "action:run":
        if (v.is(ActionRun, payload)) this.#runAction(payload);
        else this.#options.log.warn("ignored a request for an action: it can't be understood");
        break;
      case "mode:set":
        if (v.is(ModeSet, payload)) this.#setMode(payload);
        else this.#options.log.warn("ignored a request for a mode: it can't be understood");
        break;
      default: // what a hub of tomorrow may ask
        break;
    }
  }

  #report(evenUnchanged: boolean): void {
    const report = reportOf(this.#assemblies);
    if (!evenUnchanged && isDeepStrictEqual(report, this.#reported)) return;
    if (this.#context?.push("report", report) === true) this.#reported = report;
    else this.#changed(); // the line is too slow
  }

  #changed(): void {
    if (this.#context === undefined || this.#reported === undefined || this.#changePending) return;
    this.#changePending = true;
    this.#context.clock.after(CHANGE_PAUSE_MS, () => {
      this.#changePending = false;
      this.#report(false);
    });
  }

  #runAction({ ref, component: name, action: identifier }: v.InferOutput<typeof ActionRun>): void {
    const component = this.#components.find((known) => known.identifier === name);
    const action = component?.actions.find((known) => known.identifier === identifier);
    const answer = (result: ComponentResult): KeptResult => ({
      event: "action:result",
      payload: { ref, component: name, action: identifier, ...limited(result) },
    });
    const problem =
      component === undefined
        ? "unknown component"
        : action === undefined
          ? "unknown action"
          : this.#busyWith(component);
    if (problem !== undefined) this.#refuse(answer({ status: "error", output: problem }));
    else if (component !== undefined && action !== undefined)
      this.#start(component, identifier, async (signal) => action.run(signal), answer);
  }

  #setMode({ ref, component: name, mode: identifier, value }: v.InferOutput<typeof ModeSet>): void {
    const component = this.#components.find((known) => known.identifier === name);
    const mode = component?.modes.find((known) => known.identifier === identifier);
    const answer = (result: ComponentResult): KeptResult => ({
      event: "mode:result",
      payload: { ref, component: name, mode: identifier, value, ...limited(result) },
    });
    const problem =
      component === undefined
        ? "unknown component"
        : mode === undefined
          ? "unknown mode"
          : mode.values.includes(value)
            ? this.#busyWith(component)
            : "invalid value";
    if (problem !== undefined) this.#refuse(answer({ status: "error", output: problem }));
    else if (component !== undefined && mode !== undefined)
      this.#start(component, identifier, async (signal) => mode.set(value, signal), answer);
  }

  /** Why a component can't start with a request now. */
  #busyWith({ identifier }: Component): string | undefined {
    if (this.#stopping.signal.aborted) return "the agent stops; try again later";
    if (this.#running.has(identifier))
      return `${identifier} is busy with the request before; try again later`;
    if (this.#running.size < MAX_AT_ONCE) return undefined;
    return `${MAX_AT_ONCE} components are busy already; try again later`;
  }

  #refuse({ event, payload }: KeptResult): void {
    if (this.#refusals.pass() === undefined) return; // a flood: the first few say all
    this.#context?.push(event, payload);
  }

  #start(
    { identifier: name }: Component,
    what: string,
    work: (signal: AbortSignal) => Promise<ComponentResult>,
    answer: (result: ComponentResult) => KeptResult,
  ): void {
    const { log } = this.#options;
    const about = { component: name, request: what };
    log.info("the hub asks for something of a component", about);
    const run = async (): Promise<void> => {
      const result = await work(this.#stopping.signal).catch((error: unknown): ComponentResult => ({
        status: "error",
        output: messageOf(error),
      }));
      this.#running.delete(name);
      this.#values = undefined;
      if (this.#stopping.signal.aborted) return;
      log.info("what was asked of a component has ended", { ...about, status: result.status });
      this.#kept = [...this.#kept, answer(result)].slice(-MAX_KEPT);
      this.#sendKept();
    };
    this.#running.set(name, run());
  }

  #sendKept(): void {
    this.#kept = this.#kept.filter(({ event, payload }) => this.#context?.push(event, payload) !== true);
  }

  async #readValues(): Promise<Readonly<Record<string, string>>> {
    const { clock, log } = this.#options;
    const endMs = clock.monotonic() + VALUES_MS;
    const values: Record<string, string> = {};
    for (const component of this.#components) {
      for (const mode of component.modes) {
        const key = valueKey(component.identifier, mode.identifier);
        const before = this.#lastValues[key];
        if (this.#running.has(component.identifier)) {
          if (before !== undefined) values[key] = before;
          continue;
        }
        if (clock.monotonic() >= endMs || this.#stopping.signal.aborted) continue;
        try {
          const value = await mode.current(this.#stopping.signal);
          if (value !== undefined) values[key] = value;
        } catch (error) {
          log.warn(`the value of a mode can't be read: ${messageOf(error)}`, { mode: key });
        }
      }
    }
    this.#lastValues = values;
    return values;
  }
}

function limited({ status, output }: ComponentResult): ComponentResult {
  return { status, output: shortened(output, MAX_OUTPUT) };
}
