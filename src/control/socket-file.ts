/**
 * The control socket as a file: who may connect, and what happens to a file that is there already. Only a
 * socket that nobody answers on is replaced: anything else belongs to somebody.
 */
import { chmod, chown, constants, lstat, mkdir, open, unlink } from "node:fs/promises";
import { connect, type Server } from "node:net";
import { dirname } from "node:path";
import { Failure, fileFailure, systemCode } from "../platform/failure.ts";
import { O_PATH, pathOf, readIfThere } from "../platform/files.ts";

export interface SocketFile {
  readonly path: string;
  /** Permission bits of the socket. */
  readonly mode: number;
  /** Name of the group that owns it; empty for the agent's own. */
  readonly group: string;
}

/**
 * Listens on a socket file, and makes its folder when it is missing.
 * @throws Failure when another agent listens there, or the path or group can't be used; the server is closed
 */
export async function listenOn(server: Server, { path, mode, group }: SocketFile): Promise<void> {
  if (await answers(path)) {
    throw new Failure("unavailable", `another hublink already listens on ${path}; stop it first`);
  }
  try {
    await mkdir(dirname(path), { recursive: true });
    await removeStale(path);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      const umask = process.umask(0o177); // nobody else may connect before the mode is set
      server.listen(path, () => {
        server.off("error", reject);
        resolve();
      });
      process.umask(umask);
    });
    await openTo(path, mode, group === "" ? undefined : await groupId(group));
  } catch (error) {
    server.close();
    throw error instanceof Failure ? error : fileFailure("control socket", path, error);
  }
}

/** Gives the socket itself to the group: in a folder of others its path may lead elsewhere a moment later. */
async function openTo(path: string, mode: number, group: number | undefined): Promise<void> {
  const socket = await open(path, O_PATH | constants.O_NOFOLLOW);
  try {
    if (!(await socket.stat()).isSocket()) {
      throw new Failure("socket_invalid", `state.control_socket: ${path} was replaced; name another path`);
    }
    if (group !== undefined) await chown(pathOf(socket), process.getuid?.() ?? 0, group);
    await chmod(pathOf(socket), mode);
  } finally {
    await socket.close();
  }
}

/** Whether an agent listens; a socket file that a killed agent left refuses the connection. */
async function answers(path: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

async function removeStale(path: string): Promise<void> {
  try {
    const stats = await lstat(path);
    if (!stats.isSocket()) {
      throw new Failure(
        "socket_invalid",
        `state.control_socket: ${path} is a file of another kind, not a socket; name another path`,
      );
    }
    await unlink(path);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
  }
}

/** @throws Failure `socket_invalid` when there is no such group */
export async function groupId(name: string): Promise<number> {
  const groups = await readIfThere("/etc/group");
  const entry = (groups ?? "")
    .split("\n")
    .map((line) => line.split(":"))
    .find(([group]) => group === name);
  const gid = Number(entry?.[2]);
  if (entry === undefined || !Number.isInteger(gid)) {
    throw new Failure("socket_invalid", `state.control_group: there is no group ${name} in /etc/group`);
  }
  return gid;
}
