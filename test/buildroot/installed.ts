/** A board with the agent as a program, for tests that start it through an init system. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { bundle } from "../../scripts/bundle.ts";
import { cannotUnshare } from "../namespaces.ts";
import { setUpBoard, type TestBoard } from "../agent/board.ts";

/** Buildroot's package of the agent, with its init scripts. */
export const PACKAGE = join(import.meta.dirname, "../../buildroot/package/hublink");

/** Options of unshare: a namespace in which an init system can run, and whose processes end with it. */
export const isolated = ["--mount", "--pid", "--fork", "--mount-proc", "--kill-child"];

/** For node:test's `skip`: why there can be no namespace; false when there can. */
export const cannotIsolate = cannotUnshare(...isolated, "true");

export interface Installed {
  readonly board: TestBoard;
  /** The path of a program that runs the whole agent with the board's configuration. */
  readonly hublink: string;
}

/** Sets up a board that has the agent as a program. */
export async function install(): Promise<Installed> {
  const board = await setUpBoard();
  const file = await board.writeConfig();
  const program = join(board.dir, "hublink.cjs");
  await bundle(program);
  const hublink = join(board.dir, "hublink");
  const line = `exec ${process.execPath} ${program} "$@" --config ${file}`;
  await writeFile(hublink, `#!/bin/sh\n${line}\n`, { mode: 0o755 });
  return { board, hublink };
}
