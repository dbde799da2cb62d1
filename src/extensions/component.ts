/**
 * The parts of a board that the hub's page shows, with the buttons and choices that people have for each, as the
 * extension `components` reports them (protocol §7.3). Rule: names and values come from the board; what the hub sends
 * is only looked up among them.
 */

/** How a request ended, and the text for the person who made it. */
export interface ComponentResult {
  readonly status: "ok" | "error";
  readonly output: string;
}

/** A button. */
export interface Action {
  readonly identifier: string;
  /** Empty: the identifier. */
  readonly label: string;
  /** The hub's page asks before it sends the request. */
  readonly confirm: boolean;
  /**
   * Does it, within a time of its own.
   * @throws Failure when it can't be done
   */
  run(signal: AbortSignal): Promise<ComponentResult>;
}

/** A choice between values. */
export interface Mode {
  readonly identifier: string;
  /** Empty: the identifier. */
  readonly label: string;
  readonly values: readonly string[];
  /**
   * The value that is set now; undefined when nothing says which.
   * @throws Failure when it can't be read
   */
  current(signal: AbortSignal): Promise<string | undefined>;
  /**
   * @param value one of `values`
   * @throws Failure when it can't be set
   */
  set(value: string, signal: AbortSignal): Promise<ComponentResult>;
}

/** A part of the board. */
export interface Component {
  readonly identifier: string;
  /** Empty: the identifier. */
  readonly label: string;
  /** The names of the metrics that belong to it. */
  readonly metrics: readonly string[];
  readonly actions: readonly Action[];
  readonly modes: readonly Mode[];
}

/** Components that are shown together. */
export interface Assembly {
  readonly identifier: string;
  readonly label: string;
  readonly components: readonly Component[];
}

/** The payload of `components:report`: what the hub may know of them. Assemblies without a component are left out. */
export function reportOf(assemblies: readonly Assembly[]): object {
  const shown = assemblies.filter(({ components }) => components.length > 0);
  return {
    assemblies: shown.map(({ identifier, label, components }) => ({
      identifier,
      label,
      components: components.map(componentReport),
    })),
    networks: [],
  };
}

function componentReport({ identifier, label, metrics, actions, modes }: Component): object {
  return {
    identifier,
    ...(label !== "" && { label }),
    metrics,
    actions: actions.map((action) => ({
      identifier: action.identifier,
      ...(action.label !== "" && { label: action.label }),
      confirm: action.confirm,
    })),
    modes: modes.map((mode) => ({
      identifier: mode.identifier,
      ...(mode.label !== "" && { label: mode.label }),
      values: mode.values,
      metadata_key: valueKey(identifier, mode.identifier),
    })),
  };
}

/** Where the hub finds a mode's value in the metadata of the health report. No name holds a dot. */
export function valueKey(component: string, mode: string): string {
  return `${component}.${mode}`;
}
