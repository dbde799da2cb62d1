import { readFile } from "node:fs/promises";
import { release } from "node:os";
import { join } from "node:path";
import { systemCode } from "../platform/failure.ts";

/**
 * What a board is made of, which does not change while it runs: asked once. Left out is what nobody says.
 * @param root the root folder, `/` on a board
 */
export async function boardMetadata(root: string): Promise<Record<string, string>> {
  const facts = {
    board: (await deviceTreeModel(root)) || (await desktopModel()),
    os: await systemName(root),
    kernel: release(),
  };
  return Object.fromEntries(Object.entries(facts).filter(([, text]) => text !== ""));
}

/** Every ARM board has one. Its texts end with a NUL. */
async function deviceTreeModel(root: string): Promise<string> {
  return (await read(join(root, "proc/device-tree/model"))).replaceAll("\0", "").trim();
}

/**
 * Only for computers without a device tree: systeminformation takes some MB, starts a dozen children, and
 * waits for some of them with the whole process.
 */
async function desktopModel(): Promise<string> {
  const { system } = await import("systeminformation");
  const { manufacturer, model } = await system();
  return [manufacturer, model].filter((text) => text !== "").join(" ");
}

/** os-release(5): the name for people. */
async function systemName(root: string): Promise<string> {
  const text = (await read(join(root, "etc/os-release"))) || (await read(join(root, "usr/lib/os-release")));
  return /^PRETTY_NAME=(["']?)(.*)\1$/m.exec(text)?.[2] ?? "";
}

async function read(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return "";
  }
}
