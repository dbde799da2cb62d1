/**
 * What the agent touches of the world around it, as one value that is passed whole: tests give a world with
 * a clock of their own, a folder for a root, and commands that they answer.
 */
import { type Clock, systemClock } from "./clock.ts";
import { runCommand } from "./command.ts";

export interface World {
  readonly clock: Clock;
  /** From 0 (included) to 1 (excluded). */
  readonly random: () => number;
  /** The root folder, `/` on a board: where the kernel's files are read. */
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
