import { constants, open, type FileHandle } from "node:fs/promises";
import { Failure, fileFailure } from "../platform/failure.ts";

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
    if (!stat.isFile()) throw new Failure("no-input", `${what} ${path} is not a regular file`);
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
