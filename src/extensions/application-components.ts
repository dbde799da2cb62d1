/**
 * The components that applications declare over the control socket. What people ask of one is a question to the
 * connection that declared it, and with the connection they are gone. Rule: a declaration is taken as a whole or not at
 * all.
 */
import { addAbortListener, EventEmitter } from "node:events";
import * as v from "valibot";
import { ComponentAnswer, type ComponentsParams } from "../control/messages.ts";
import type { ControllerAnswer } from "../control/questions.ts";
import type { Caller } from "../control/server.ts";
import { wellFormed } from "../platform/text.ts";
import type { Component, ComponentResult } from "./component.ts";

interface ApplicationComponentsEvents {
  /** Some have come, gone or changed. */
  changed: [];
}

/** The hub takes 64 KiB of components; half of that is for those of the configuration. */
const MAX_LENGTH = 24 * 1024;

interface Declaration {
  readonly components: readonly Component[];
  /** Of what the application sent. */
  readonly length: number;
}

export class ApplicationComponents extends EventEmitter<ApplicationComponentsEvents> {
  readonly #configured: readonly Component[];
  readonly #timeoutMs: number;
  readonly #declared = new Map<Caller, Declaration>();

  /**
   * @param configured components whose names are taken
   * @param timeoutMs for an answer
   */
  constructor(configured: readonly Component[], timeoutMs: number) {
    super();
    this.#configured = configured;
    this.#timeoutMs = timeoutMs;
  }

  get components(): readonly Component[] {
    return [...this.#declared.values()].flatMap(({ components }) => components);
  }

  /**
   * Takes the components of an application, in place of those that it declared before.
   * @returns the problem with them, in which case those from before stay
   */
  declare(caller: Caller, { components }: ComponentsParams): string | undefined {
    const others = [...this.#declared].filter(([other]) => other !== caller);
    const taken = [...this.#configured, ...others.flatMap(([, declaration]) => declaration.components)];
    const problem = repeated([...taken, ...components], "component") ?? repeatedWithin(components);
    if (problem !== undefined) return problem;
    const { length } = JSON.stringify(components);
    if (others.reduce((sum, [, other]) => sum + other.length, length) > MAX_LENGTH) {
      return `more than ${MAX_LENGTH / 1024} KiB of components, from all applications together`;
    }
    if (!this.#declared.has(caller)) {
      addAbortListener(caller.gone, () => {
        this.#declared.delete(caller);
        this.emit("changed");
      });
    }
    const declared = components.map((component) => this.#component(component, caller));
    this.#declared.set(caller, { components: declared, length });
    this.emit("changed");
    return undefined;
  }

  #component({ actions, modes, ...component }: Declared, caller: Caller): Component {
    const { identifier: name } = component;
    const ask = async (method: Parameters<Caller["ask"]>[0], params: object, signal: AbortSignal) => {
      const options = { timeoutMs: this.#timeoutMs, signal };
      return resultOf(await caller.ask(method, { component: name, ...params }, options), this.#timeoutMs);
    };
    return {
      ...component,
      actions: actions.map((action) => ({
        ...action,
        run: async (signal) => ask("component_action", { action: action.identifier }, signal),
      })),
      modes: modes.map(({ value: initial, ...mode }) => {
        let current = initial ?? undefined;
        return {
          ...mode,
          current: async () => Promise.resolve(current),
          async set(value, signal) {
            const result = await ask("component_mode", { mode: mode.identifier, value }, signal);
            if (result.status === "ok") current = value;
            return result;
          },
        };
      }),
    };
  }
}

type Declared = ComponentsParams["components"][number];

interface Named {
  readonly identifier: string;
}

function repeated(named: readonly Named[], what: string): string | undefined {
  const names = new Set<string>();
  for (const { identifier } of named) {
    if (names.has(identifier)) return `there is a ${what} ${identifier} already`;
    names.add(identifier);
  }
  return undefined;
}

function repeatedWithin(components: readonly Declared[]): string | undefined {
  return components
    .map(
      ({ identifier, actions, modes }) =>
        repeated(actions, `${identifier} action`) ?? repeated(modes, `${identifier} mode`),
    )
    .find((problem) => problem !== undefined);
}

function resultOf(answer: ControllerAnswer, timeoutMs: number): ComponentResult {
  switch (answer.type) {
    case "result": {
      const { success, output } = v.safeParse(ComponentAnswer, answer.result);
      if (success) return { status: "ok", output: wellFormed(output?.output ?? "") };
      return { status: "error", output: "the application gave an answer that can't be understood" };
    }
    case "error":
      return { status: "error", output: wellFormed(answer.message) };
    case "timeout":
      return { status: "error", output: `the application gave no answer in ${timeoutMs / 1000} s` };
    case "no-controller":
      return { status: "error", output: "the application has gone" };
  }
}
