import { readFile } from "node:fs/promises";
import { parse, TomlError } from "smol-toml";
import { fileFailure, systemCode } from "../platform/failure.ts";
import { decodeUtf8 } from "../platform/text.ts";
import { checkConfig, type Checked, ConfigFailure } from "./check.ts";
import type { Environment } from "./environment.ts";
import type { Table } from "./setting.ts";

const DEFAULT_PATH = "/etc/hublink/config.toml";

export interface ConfigSource {
  /** Default: /etc/hublink/config.toml */
  readonly path?: string;
  /** Variables named `HUBLINK_SECTION__KEY` override the file. */
  readonly env: Environment;
  /** The user named the file, so it must be there. Default: when `path` is given. */
  readonly explicit?: boolean;
}

/**
 * Reads and checks the configuration.
 * @throws ConfigFailure with everything that is wrong
 * @throws Failure `no-input` when a file that the user named is missing, `permission` or `io` when it
 * can't be read
 */
export async function loadConfig(source: ConfigSource): Promise<Checked> {
  const path = source.path ?? DEFAULT_PATH;
  const explicit = source.explicit ?? source.path !== undefined;
  return checkConfig(await readTable(path, explicit), source.env, `configuration ${path}`);
}

async function readTable(path: string, explicit: boolean): Promise<Table> {
  let content: Buffer;
  try {
    content = await readFile(path);
  } catch (error) {
    if (!explicit && systemCode(error) === "ENOENT") return {};
    throw fileFailure("configuration", path, error);
  }
  try {
    return parse(decodeUtf8(content));
  } catch (error) {
    // Without `cause`: the parser's error quotes lines of the file, which may hold a secret.
    throw new ConfigFailure("configuration", [`${path}${syntaxProblem(error)}`]);
  }
}

function syntaxProblem(error: unknown): string {
  if (!(error instanceof TomlError)) return ": not UTF-8 text; save it as UTF-8";
  const words = error.message.split("\n", 1)[0]?.replace(/^Invalid TOML document: /, "") ?? "";
  return `: line ${error.line}, column ${error.column}: ${words}`;
}
