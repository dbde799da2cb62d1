/**
 * Files that an application asks the agent to read. The agent is mostly root, and the socket may be open to others, so
 * it reads for them only what all of them could read themselves. Who asks can't be known: Node does not give
 * SO_PEERCRED.
 */
import { constants, type FileHandle, open, readlink, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { Failure, fileFailure } from "../platform/failure.ts";
import { O_PATH, pathOf } from "../platform/files.ts";
import { groupId, type SocketFile } from "./socket-file.ts";

const READ = 0o4;
const SEARCH = 0o1;

/**
 * Opens a file to read it for a peer of the socket.
 * @throws Failure `no_input`, `permission` or `io`
 */
export async function openForPeers(path: string, socket: Omit<SocketFile, "path">): Promise<FileHandle> {
  try {
    // Not opened for reading yet: that would start a watchdog, or wait for the writer of a pipe.
    const found = await open(path, O_PATH);
    try {
      if (!(await found.stat()).isFile()) throw new Failure("no_input", `file ${path} is not a file`);
      if (!(await allPeersMayRead(found, socket))) {
        throw new Failure(
          "permission",
          `file ${path}: not everybody who may use the control socket may read it; make it and its folders readable for them`,
        );
      }
      return await open(pathOf(found), constants.O_RDONLY);
    } finally {
      await found.close();
    }
  } catch (error) {
    throw error instanceof Failure ? error : fileFailure("file", path, error);
  }
}

async function allPeersMayRead(
  file: FileHandle,
  { mode, group }: Omit<SocketFile, "path">,
): Promise<boolean> {
  // connect(2) needs the right to write.
  const [forGroup, forOthers] = [(mode & 0o020) !== 0, (mode & 0o002) !== 0];
  if (!forGroup && !forOthers) return true;
  const gid = group === "" ? process.getgid?.() : await groupId(group);
  const allMay = (stats: { readonly mode: number; readonly gid: number }, right: number): boolean => {
    const groupMay = (stats.mode & (stats.gid === gid ? right << 3 : right)) !== 0;
    const othersMay = (stats.mode & right) !== 0;
    return (!forGroup || groupMay) && (!forOthers || othersMay);
  };
  if (!allMay(await file.stat(), READ)) return false;
  const real = await readlink(pathOf(file));
  for (let folder = dirname(real); ; folder = dirname(folder)) {
    if (!allMay(await stat(folder), SEARCH)) return false;
    if (folder === dirname(folder)) return true;
  }
}
