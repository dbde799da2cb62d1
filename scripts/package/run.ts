/** Programs that the packaging scripts run to their end. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { Failure, systemCode } from "../../src/platform/failure.ts";

const execute = promisify(execFile);

/**
 * Runs a program to its end; returns its standard output.
 * @throws Failure `unavailable` when it is not there, `other` with its last words when it fails
 */
export async function run(
  program: string,
  args: readonly string[],
  options: { readonly env?: Readonly<Record<string, string>>; readonly cwd?: string } = {},
): Promise<string> {
  try {
    const { stdout } = await execute(program, [...args], {
      ...options,
      env: { ...process.env, ...options.env },
      maxBuffer: 256 * 1024 * 1024,
    });
    return stdout;
  } catch (error) {
    if (systemCode(error) === "ENOENT") throw new Failure("unavailable", `${program} is not installed`);
    const words = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : "";
    throw new Failure("failed", `${program} failed: ${words === "" ? String(error) : words}`, {
      cause: error,
    });
  }
}
