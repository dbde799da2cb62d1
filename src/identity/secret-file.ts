import { constants, type FileHandle, open, readFile } from "node:fs/promises";
import { Failure, fileFailure } from "../platform/failure.ts";

/**
 * The bytes of a private key's file, which only its owner may read; a key may be binary, unlike what
 * `readSecretFile` reads.
 * @throws Failure `config` when others may read or write it; `no-input`, `permission` or `io` when it
 *   can't be read
 */
export async function readKeyFile(path: string): Promise<Buffer> {
  return named("key", path, async () => {
    // Non-blocking, as opening a pipe would wait for a writer.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stat = await file.stat();
      if (!stat.isFile()) throw new Failure("no_input", `key ${path} is not a regular file`);
      if ((stat.mode & 0o077) !== 0) {
        const mode = (stat.mode & 0o777).toString(8).padStart(4, "0");
        throw new Failure(
          "config",
          `key ${path} is open to others than its owner (mode ${mode}); chmod 600 ${path}`,
        );
      }
      return await file.readFile();
    } finally {
      await file.close();
    }
  });
}

/**
 * The bytes of a file that anybody may read.
 * @param what what the file is to the user, such as `certificate`
 * @throws Failure `no-input`, `permission` or `io`
 */
export async function readPublicFile(what: string, path: string): Promise<Buffer> {
  return named(what, path, async () => readFile(path));
}

async function named(what: string, path: string, read: () => Promise<Buffer>): Promise<Buffer> {
  try {
    return await read();
  } catch (error) {
    throw error instanceof Failure ? error : fileFailure(what, path, error);
  }
}

/**
 * The content of a file that only its owner may read, without the newline at its end.
 * @param what what the file is to the user, such as `secret file`
 * @throws Failure `config` when others than its owner may read or write it, `no-input` when it is
 * missing, `permission` or `io` when it can't be read
 */
export async function readSecretFile(path: string, what = "secret file"): Promise<string> {
  let file: FileHandle | undefined;
  try {
    // Non-blocking, as opening a pipe would wait for a writer.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = await file.stat();
    if (!stat.isFile()) throw new Failure("no_input", `${what} ${path} is not a regular file`);
    if ((stat.mode & 0o077) !== 0) {
      const mode = (stat.mode & 0o777).toString(8).padStart(4, "0");
      throw new Failure(
        "config",
        `${what} ${path} is open to others than its owner (mode ${mode}); chmod 600 ${path}`,
      );
    }
    return (await file.readFile("utf8")).replace(/\r?\n$/, "");
  } catch (error) {
    throw error instanceof Failure ? error : fileFailure(what, path, error);
  } finally {
    await file?.close();
  }
}
