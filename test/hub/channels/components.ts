/**
 * What the stand-in hub keeps of a device's components, and how it asks for something of one: as NervesHub reduces a
 * report to the shape it stores, and checks a request against it.
 */
import { isMap } from "../crash.ts";
import type { ChannelContext, Reader } from "./channel.ts";

/** What NervesHub stores. */
export interface Topology {
  readonly assemblies: readonly Group[];
  readonly networks: readonly Group[];
}

interface Group {
  readonly identifier: string;
  readonly label: string | undefined;
  readonly members: readonly Member[];
}

export interface Member {
  readonly identifier: string;
  readonly label: string | undefined;
  readonly metrics: readonly string[];
  readonly metadata: readonly string[];
  readonly actions: readonly {
    readonly identifier: string;
    readonly label: string | undefined;
    readonly confirm: boolean;
  }[];
  readonly modes: readonly {
    readonly identifier: string;
    readonly label: string | undefined;
    readonly metadataKey: string;
    readonly values: readonly string[];
  }[];
}

/** What NervesHub relays of a result: texts only, and cut. */
export type ComponentResult = Readonly<Record<string, string>>;

const MAX_TOPOLOGY_BYTES = 65_536;
const RESULT_KEYS = ["ref", "component", "action", "mode", "value", "status", "output"];

export function readComponents(context: ChannelContext): Reader {
  const { record } = context;
  return {
    handle(event, payload) {
      if (event === "report") {
        const topology = readTopology(payload);
        if (topology === undefined) record.dropped.push({ extension: "components", what: "a report" });
        else record.topology = topology;
      }
      if (event !== "action:result" && event !== "mode:result") return;
      const result = readResult(payload);
      if (result !== undefined) record.componentResults.push(result);
      // What was done has probably changed what the page shows.
      for (const name of ["metrics", "health"]) {
        if (record.attached.has(name)) context.push(`${name}:check`, {});
      }
    },
    close: () => undefined,
  };
}

/** @returns undefined for a report that is not stored */
function readTopology(report: unknown): Topology | undefined {
  if (!isMap(report)) return undefined;
  const topology = {
    assemblies: groups(report["assemblies"], "components"),
    networks: groups(report["networks"], "peers"),
  };
  return Buffer.byteLength(JSON.stringify(topology)) > MAX_TOPOLOGY_BYTES ? undefined : topology;
}

function readResult(payload: unknown): ComponentResult | undefined {
  if (!isMap(payload)) return undefined;
  return Object.fromEntries(
    RESULT_KEYS.flatMap((key) => {
      const value = payload[key];
      return typeof value === "string" ? [[key, value.slice(0, 8192)]] : [];
    }),
  );
}

export function membersOf({ assemblies, networks }: Topology): readonly Member[] {
  return [...assemblies, ...networks].flatMap(({ members }) => members);
}

function groups(given: unknown, members: string): Group[] {
  return entries(given, 100, (identifier, group) => ({
    identifier,
    label: string(group["label"]),
    members: entries(group[members], 500, member),
  }));
}

function member(identifier: string, given: Readonly<Record<string, unknown>>): Member {
  return {
    identifier,
    label: string(given["label"]),
    metrics: strings(given["metrics"], 100),
    metadata: strings(given["metadata"], 100),
    actions: entries(given["actions"], 50, (name, action) => ({
      identifier: name,
      label: string(action["label"]),
      confirm: action["confirm"] === true,
    })),
    modes: entries(given["modes"], 50, (name, mode) => ({
      identifier: name,
      label: string(mode["label"]),
      metadataKey: string(mode["metadata_key"]) ?? name,
      values: strings(mode["values"], 50),
    })).filter(({ values }) => values.length > 0),
  };
}

/** Those that are maps with an identifier; of several with the same one the first. */
function entries<T extends { readonly identifier: string }>(
  given: unknown,
  max: number,
  read: (identifier: string, entry: Readonly<Record<string, unknown>>) => T,
): T[] {
  if (!Array.isArray(given)) return [];
  const found = given.slice(0, max).flatMap((entry: unknown) => {
    const identifier = isMap(entry) ? string(entry["identifier"]) : undefined;
    return isMap(entry) && identifier !== undefined ? [read(identifier, entry)] : [];
  });
  return found.filter(
    ({ identifier }, index) => found.findIndex((other) => other.identifier === identifier) === index,
  );
}

function strings(given: unknown, max: number): string[] {
  if (!Array.isArray(given)) return [];
  return given
    .slice(0, max)
    .map(string)
    .filter((text) => text !== undefined);
}

function string(given: unknown): string | undefined {
  if (typeof given !== "string" || given.trim() === "") return undefined;
  return given.trim().slice(0, 200);
}
