/**
 * Reading the configuration's file. A file that the user names must be there; the default file may be
 * missing, for boards that are configured by environment variables alone.
 */
import { readFile } from "node:fs/promises";
import { parse, TomlError } from "smol-toml";
import { fileFailure, systemCode } from "../platform/failure.ts";
import { decodeUtf8 } from "../platform/text.ts";
import { checkConfig, type Checked, ConfigFailure } from "./check.ts";
import type { Environment } from "./environment.ts";
import type { Table } from "./setting.ts";

const DEFAULT_PATH = "/etc/hublink/config.toml";

/** The file and the variables of a configuration. */
export interface ConfigSource {
  /** A file that must be there. Default: /etc/hublink/config.toml, if it is there. */
  readonly path?: string | undefined;
  /** Variables named `HUBLINK_SECTION__KEY` override the file. */
  readonly env: Environment;
}

/**
 * Reads and checks the configuration.
 * @throws ConfigFailure with everything that is wrong
 * @throws Failure `no_input` when a file that the user named is missing, `permission` or `io` when it
 * can't be read
 */
export async function loadConfig({ path, env }: ConfigSource): Promise<Checked> {
  const table = path === undefined ? await readDefaultTable() : await readTable(path);
  try {
    return checkConfig(table ?? {}, env, `configuration ${path ?? DEFAULT_PATH}`);
  } catch (error) {
    if (table !== undefined || hasVariables(env)) throw error;
    const remedy = "start from config.example.toml, or set HUBLINK_HUB__URL and others in the environment";
    throw new ConfigFailure("configuration", [`${DEFAULT_PATH} does not exist; ${remedy}`], { cause: error });
  }
}

function hasVariables(env: Environment): boolean {
  return Object.keys(env).some((name) => /^HUBLINK_[A-Z]+__/.test(name));
}

/** Undefined when there is none. */
async function readDefaultTable(): Promise<Table | undefined> {
  try {
    return await readTable(DEFAULT_PATH);
  } catch (error) {
    if (error instanceof Error && systemCode(error.cause) === "ENOENT") return undefined;
    throw error;
  }
}

async function readTable(path: string): Promise<Table> {
  let content: Buffer;
  try {
    content = await readFile(path);
  } catch (error) {
    throw fileFailure("configuration", path, error);
  }
  try {
    return parse(decodeUtf8(content));
  } catch (error) {
    // Without `cause`: the parser's error quotes lines of the file, which may hold a secret.
    throw new ConfigFailure("configuration", [`${path}${syntaxProblem(error, content.toString())}`]);
  }
}

function syntaxProblem(error: unknown, text: string): string {
  if (!(error instanceof TomlError)) return ": not UTF-8 text; save it as UTF-8";
  const words = error.message.split("\n", 1)[0]?.replace(/^Invalid TOML document: /, "") ?? "";
  const hint = quotesHint(text.split("\n")[error.line - 1] ?? "");
  return `: line ${error.line}, column ${error.column}: ${words}${hint}`;
}

/** The mistake of most newcomers to TOML. The line's value is not shown: it may be a secret. */
function quotesHint(line: string): string {
  const [key = "", ...rest] = line.split("=");
  const value = rest.join("=").trim();
  if (rest.length === 0 || !/^[\w.-]+$/.test(key.trim())) return "";
  const quotes = value.match(/["']/g)?.length ?? 0;
  const example = value.startsWith("[") ? '["…"]' : '"…"';
  if (quotes === 0) return `; text stands in quotes: ${key.trim()} = ${example}`;
  return quotes === 1 ? "; a quote is missing" : "";
}
