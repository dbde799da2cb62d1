/** The log of all changes that the agent and fwup make to files, as preload/ writes it. */

/** One change of the medium, as preload/ logs it. */
export type Change =
  | { readonly kind: "create" | "unlink" | "mkdir" | "rmdir"; readonly inode: number; readonly name: string }
  | { readonly kind: "rename"; readonly inode: number; readonly name: string; readonly to: string }
  | {
      readonly kind: "write";
      readonly inode: number;
      readonly offset: number;
      readonly data: Buffer;
      /** Whether fwup made it; otherwise the agent did. */
      readonly byChild: boolean;
      /** The low 16 bits of the id of the process that made it. */
      readonly process: number;
    }
  | { readonly kind: "resize"; readonly inode: number; readonly sizeBytes: number }
  | { readonly kind: "sync"; readonly inode: number; readonly ofFolder: boolean }
  /** A process was killed in a change that it may have made, and that is not in the log. */
  | { readonly kind: "died"; readonly inode: 0 };

const HEADER_BYTES = 32;

/** Reads a log. @throws Error when preload/ did not write it */
export function parseChangeLog(log: Buffer): Change[] {
  const changes: Change[] = [];
  for (let at = 0; at + HEADER_BYTES <= log.length;) {
    const nameAt = at + HEADER_BYTES;
    const dataAt = nameAt + log.readUInt32LE(at + 4);
    const end = dataAt + Number(log.readBigUInt64LE(at + 24));
    const kind = String.fromCharCode(log.readUInt8(at));
    const inode = Number(log.readBigUInt64LE(at + 8));
    const offset = Number(log.readBigUInt64LE(at + 16));
    const name = log.toString("utf8", nameAt, dataAt);
    const byChild = log.readUInt8(at + 1) === 1;
    const process = log.readUInt16LE(at + 2);
    changes.push(changeOf(kind, { inode, offset, name, byChild, process, data: log.subarray(dataAt, end) }));
    at = end;
  }
  return changes;
}

interface Fields {
  readonly inode: number;
  readonly offset: number;
  readonly name: string;
  readonly byChild: boolean;
  readonly process: number;
  readonly data: Buffer;
}

function changeOf(kind: string, { inode, offset, name, byChild, process, data }: Fields): Change {
  const [from = "", to = ""] = name.split("\n");
  switch (kind) {
    case "C":
      return { kind: "create", inode, name };
    case "U":
      return { kind: "unlink", inode, name };
    case "D":
      return { kind: "mkdir", inode, name };
    case "X":
      return { kind: "rmdir", inode, name };
    case "R":
      return { kind: "rename", inode, name: from, to };
    case "W":
      return { kind: "write", inode, offset, data, byChild, process };
    case "T":
      return { kind: "resize", inode, sizeBytes: offset };
    case "S":
      return { kind: "sync", inode, ofFolder: offset === 1 };
    case "K":
      return { kind: "died", inode: 0 };
    default:
      throw new Error(`torture: unknown change ${JSON.stringify(kind)} in the log`);
  }
}
