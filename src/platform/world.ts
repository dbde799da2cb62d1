/**
 * Everything outside the process that the agent's parts use, as one value that is passed whole. A test gives a
 * world with a fake clock, a folder as root, and answers instead of commands.
 */
import { type Clock, systemClock } from "./clock.ts";
import { runCommand } from "./command.ts";

export interface World {
  readonly clock: Clock;
  /** A number from 0 (included) to 1 (excluded). */
  readonly random: () => number;
  /** The folder in which the kernel's files are read; `/` on a board. */
  readonly root: string;
  readonly run: typeof runCommand;
}

/** The machine itself. */
export const systemWorld: World = {
  clock: systemClock,
  random: Math.random,
  root: "/",
  run: runCommand,
};
