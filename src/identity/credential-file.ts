import { open, readFile } from "node:fs/promises";
import { Failure, fileFailure } from "../platform/failure.ts";

/**
 * Reads a file that only its owner may read, such as a private key.
 * @param what what the file is to the user, such as `key`
 * @throws Failure `permission` when others may read it; `no-input`, `permission` or `io` when it can't be
 *   read
 */
export async function readPrivateFile(what: string, path: string): Promise<Buffer> {
  return readChecked(what, path, async () => {
    const file = await open(path);
    try {
      const { mode } = await file.stat();
      if ((mode & 0o077) !== 0) {
        const shown = (mode & 0o777).toString(8).padStart(4, "0");
        throw new Failure(
          "permission",
          `${what} ${path} is open to others (mode ${shown}); chmod 600 ${path}`,
        );
      }
      return await file.readFile();
    } finally {
      await file.close();
    }
  });
}

/**
 * Reads a file that anybody may read, such as a certificate.
 * @throws Failure `no-input`, `permission` or `io`
 */
export async function readPublicFile(what: string, path: string): Promise<Buffer> {
  return readChecked(what, path, async () => readFile(path));
}

async function readChecked(what: string, path: string, read: () => Promise<Buffer>): Promise<Buffer> {
  try {
    return await read();
  } catch (error) {
    throw error instanceof Failure ? error : fileFailure(what, path, error);
  }
}

/**
 * Reads a secret text, without the newline that editors end a file with.
 * @throws Failure as {@link readPrivateFile}; `config` when it is empty
 */
export async function readSecretText(what: string, path: string): Promise<string> {
  const text = (await readPrivateFile(what, path)).toString().replace(/\r?\n$/, "");
  if (text === "") throw new Failure("config", `${what} ${path} is empty`);
  return text;
}
