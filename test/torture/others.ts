/**
 * What others do to a board: people who install firmware by hand, a supervisor, a second agent, new firmware that does
 * not come up, a hub with a wrong clock. Each of these once lost a board, or left it in the dark.
 */
import { wrongDate } from "../hub/faults.ts";
import type { LifeFaults } from "./life-faults.ts";
import type { HubFault } from "./plan.ts";
import type { Random } from "./random.ts";

/** What happens in a round, in the first life if nothing else is said. */
export interface Happening {
  readonly name: string;
  readonly lifeFaults?: LifeFaults;
  readonly hubFaults?: readonly HubFault[];
  /** Somebody installs other firmware when so many bytes were downloaded; with or without a restart of the agent. */
  readonly byHand?: { readonly atByte: number; readonly restartsAgent: boolean };
  /** Instead of what was drawn for the board. */
  readonly bootScriptTells?: boolean;
  /** Two agents are started at the same moment. */
  readonly twoAgents?: boolean;
  /** The disk shows up after the first join. */
  readonly lateDisk?: boolean;
  /** How many times the new firmware is booted and its agent does not come up: its supervisor reboots the board. */
  readonly deadBoots?: number;
  /** How many times the new firmware can't reach its hub. */
  readonly deafBoots?: number;
  /** In all lives: the clock starts in 1970. */
  readonly noClock?: boolean;
}

/** How many times an update at least writes to the disk image. */
const DISK_WRITES = 22;
/** After so many of them fwup has the whole file and little left to tell: it goes on without its agent. */
const NEARLY_DONE = 16;
/** Slower than an agent starts. */
const SLOW_WRITE_MS = 1500;
const YEARS_MS = 365.25 * 86_400_000;

/** Draws something that others do. */
export function drawHappening(random: Random, firmwareBytes: number): Happening {
  switch (
    random.pick([
      "by hand",
      "by hand, restart",
      "killed",
      "two agents",
      "late disk",
      "dead",
      "deaf",
      "wrong date",
    ] as const)
  ) {
    case "by hand":
      return {
        name: "somebody's fwup during the update",
        byHand: { atByte: random.int(0, firmwareBytes), restartsAgent: false },
      };
    case "by hand, restart":
      return {
        name: "somebody's fwup, then a restart of the agent",
        byHand: { atByte: random.chance(0.5) ? 0 : random.int(0, firmwareBytes), restartsAgent: true },
        bootScriptTells: false,
      };
    case "killed":
      return {
        name: "killed agent whose fwup lives on",
        lifeFaults: {
          killAgentAtWrite: random.chance(0.7)
            ? random.int(NEARLY_DONE, NEARLY_DONE + 4)
            : random.int(2, DISK_WRITES),
          slowWritesMs: SLOW_WRITE_MS,
        },
      };
    case "two agents":
      return { name: "two agents at once", twoAgents: true };
    case "late disk":
      return { name: "late disk", lateDisk: true };
    case "dead":
      return { name: "new firmware whose agent does not come up", deadBoots: random.int(1, 2) };
    case "deaf":
      return { name: "new firmware that can't reach its hub", deafBoots: 1 };
    case "wrong date":
      return {
        name: "wrong Date on a board without a clock",
        noClock: true,
        hubFaults: [
          { fault: wrongDate(random.pick([-40, 19, 40, 7900]) * YEARS_MS), times: random.int(1, 3) },
        ],
      };
  }
}
