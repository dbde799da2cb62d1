/**
 * The user that a shell runs as, and the user that the agent runs as. They are looked up in the system's list of
 * users without getpwnam, which a Node without native code does not have.
 */
import { accessSync, constants, readFileSync } from "node:fs";
import { userInfo } from "node:os";
import { Failure, fileFailure, systemCode } from "../platform/failure.ts";

/** The user that a shell runs as. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/**
 * The agent's own user, which the system's list of users need not contain. Users that are made for a service often
 * have no home folder: as at a login, `/` is their home then, since nothing can be started in a folder that is missing.
 */
export function ownAccount(): { readonly name: string; readonly home: string } {
  try {
    const { username, homedir } = userInfo();
    return { name: username, home: canEnter(homedir) ? homedir : "/" };
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return { name: `${process.getuid?.() ?? ""}`, home: "/" };
  }
}

/** Whether this process can change into a folder. */
function canEnter(folder: string): boolean {
  try {
    accessSync(`${folder}/.`, constants.X_OK);
    return folder !== "";
  } catch {
    return false;
  }
}

/**
 * The user that `console.user` names; undefined for the agent's own.
 * @throws Failure when there is no such user, or the agent has no right to run a shell as that user
 */
export function accountOf(user: string): Account | undefined {
  if (user === "") return undefined;
  const path = "/etc/passwd";
  let accounts: string;
  try {
    accounts = readFileSync(path, "utf8");
  } catch (error) {
    throw fileFailure("the list of users", path, error);
  }
  const entry = accounts
    .split("\n")
    .map((line) => line.split(":"))
    .find(([name]) => name === user);
  const [uid, gid] = [Number(entry?.[2]), Number(entry?.[3])];
  if (entry === undefined || !Number.isInteger(uid) || !Number.isInteger(gid)) {
    throw new Failure("config", `console.user: there is no user ${user} in ${path}`);
  }
  if (process.getuid?.() !== 0) {
    throw new Failure("permission", `console.user: only root can become ${user}; run the agent as root`);
  }
  return { name: user, uid, gid };
}
