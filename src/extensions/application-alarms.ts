/**
 * The alarms of applications on the board. They stay raised when their application goes away, until it or another one
 * clears them: a script raises one and ends. They are in memory only, and end with the agent. Rule: bounded, and text
 * that a person can read.
 */
import { redact } from "../platform/log.ts";
import { printable, shortened } from "../platform/text.ts";
import type { AlarmList } from "./alarm-list.ts";
import { OWN_ALARMS } from "./own-alarms.ts";

const MAX_ALARMS = 32;
const NAME = /^[A-Za-z0-9_.:-]{1,64}$/;
const MAX_DESCRIPTION = 256;

export class ApplicationAlarms {
  readonly #list: AlarmList;

  constructor(list: AlarmList) {
    this.#list = list;
  }

  /** @returns the problem, in which case nothing is changed */
  raise(name: string, description: string): string | undefined {
    const problem = problemOf(name);
    if (problem !== undefined) return problem;
    const others = this.#list.current.filter(
      (alarm) => alarm.name !== name && problemOf(alarm.name) === undefined,
    );
    if (others.length >= MAX_ALARMS) return `more than ${MAX_ALARMS} alarms; clear one first`;
    this.#list.raise(name, shortened(printable(redact(description)), MAX_DESCRIPTION));
    return undefined;
  }

  /** @returns the problem with the name */
  clear(name: string): string | undefined {
    const problem = problemOf(name);
    if (problem === undefined) this.#list.clear(name);
    return problem;
  }
}

function problemOf(name: string): string | undefined {
  if (!NAME.test(name)) return "an alarm's name has 1 to 64 letters, digits, or any of _ . : -";
  return OWN_ALARMS.some((own) => own === name) ? `${name} is an alarm of the agent's own` : undefined;
}
