/**
 * `npm run hub`: the stand-in hub as a program, with a prompt and a console page, to try hublink without a
 * NervesHub.
 */
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { columnsOf } from "../../src/cli/terminal.ts";
import { Failure, fileFailure, messageOf } from "../../src/platform/failure.ts";
import { redact } from "../../src/platform/log.ts";
import { startConsolePage } from "./console-page.ts";
import { keepCertificates, writeDemoBoard } from "./demo-board.ts";
import { readFirmwareMeta } from "./firmware-meta.ts";
import { runLine } from "./prompt.ts";
import { type HubApi, type HubEvent, startHub } from "./server.ts";

const USAGE = `usage: npm run hub -- [options]
  --port N              listen there (default 8443)
  --dir DIR             certificates and a demo board, kept between runs
                        (default ${join(tmpdir(), "hublink-hub")})
  --device NAME         identifier of the demo board (default demo-board)
  --firmware FILE.fw    give this to every board it fits
  --api 2.3|2.4         the age of the hub: device API 2.4 came in September 2026
                        (default 2.4)
  --public-key KEY      base64, or a file that fwup -g made; may be repeated
  --help`;

interface Arguments {
  readonly port: number;
  readonly dir: string;
  readonly device: string;
  readonly firmware: string | undefined;
  readonly api: HubApi;
  readonly publicKeys: readonly string[];
}

async function main(): Promise<void> {
  const args = readArguments();
  if (args === undefined) {
    console.log(USAGE);
    return;
  }
  const firmware =
    args.firmware === undefined
      ? undefined
      : { file: args.firmware, meta: await readFirmwareMeta(args.firmware) };
  const publicKeys = await Promise.all(args.publicKeys.map(readKey));
  const certificates = await keepCertificates(args.dir, args.device);
  const hub = await startHub({
    port: args.port,
    tls: {
      cert: await readFile(certificates.server.certFile, "utf8"),
      key: await readFile(certificates.server.keyFile, "utf8"),
      ca: await readFile(certificates.caFile, "utf8"),
      clientCertificates: "optional",
    },
    publicKeys,
    api: args.api,
    onEvent: (event) => describe(event, args.device).forEach(print),
  }).catch((error: unknown) => {
    throw new Failure("unavailable", `port ${args.port}: ${messageOf(error)}; try another with --port`);
  });
  const options = { url: hub.url, certificates, like: firmware?.meta };
  const board = await writeDemoBoard(args.dir, options);
  publicKeys.push(board.publicKey);
  if (firmware !== undefined) hub.deploy(await hub.publish(firmware.file, firmware.meta));
  console.log(`hub at ${hub.url}, downloads at ${hub.downloadUrl}`);
  const page = await startConsolePage(hub);
  console.log(`consoles of the boards at ${page.url}`);
  console.log(`start an agent:\n  node dist/hublink.cjs run --config ${board.configFile}`);
  console.log(`then type here:\n  update ${args.device} ${board.nextFirmware}`);
  console.log("its reboot ends the agent: start it again, and the board boots");
  console.log('type "help" for what you can do here');

  const lines = createInterface({ input: process.stdin });
  process.once("SIGINT", () => lines.close());
  process.once("SIGTERM", () => lines.close());
  for await (const line of lines) {
    try {
      const answer = await runLine(hub, line, readFirmwareMeta);
      if (answer === "quit") break;
      answer.forEach((text) => console.log(text));
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      console.log(error.message);
    }
  }
  lines.close();
  await page.stop();
  await hub.stop();
}

/** @returns undefined when help is asked for. @throws Failure `usage` */
function readArguments(): Arguments | undefined {
  let values;
  try {
    values = parseArgs({
      options: {
        port: { type: "string", default: "8443" },
        dir: { type: "string", default: join(tmpdir(), "hublink-hub") },
        device: { type: "string", default: "demo-board" },
        firmware: { type: "string" },
        api: { type: "string", default: "2.4" },
        "public-key": { type: "string", multiple: true, default: [] },
        help: { type: "boolean", default: false },
      },
    }).values;
  } catch (error) {
    throw new Failure("usage", `${messageOf(error)}; --help lists the options`);
  }
  if (values.help) return undefined;
  const port = Number(values.port);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new Failure("usage", `--port ${values.port}: not a port; give a number up to 65535`);
  }
  const { api } = values;
  if (api !== "2.3" && api !== "2.4") throw new Failure("usage", `--api ${api}: give 2.3 or 2.4`);
  return {
    port,
    api,
    dir: resolve(values.dir),
    device: values.device,
    firmware: values.firmware,
    publicKeys: values["public-key"],
  };
}

/** A key as it is given: itself, or the file that holds it. */
async function readKey(given: string): Promise<string> {
  if (/^[A-Za-z0-9+/]{43}=$/.test(given)) return given;
  try {
    return (await readFile(given, "utf8")).trim();
  } catch (error) {
    throw fileFailure("public key", given, error);
  }
}

/** @param demoBoard whose reboot is a person's to carry out */
function describe(event: HubEvent, demoBoard: string): string[] {
  switch (event.kind) {
    case "connected":
      return [`${event.identifier} connected`];
    case "refused":
      return [`refused: ${event.text}`];
    case "closed":
      return [`${event.identifier} disconnected (${event.code})`];
    case "download": {
      const { entry } = event;
      if (!entry.done) return [];
      return [`download ${entry.status} ${entry.range ?? "whole"} ${entry.sentBytes} bytes`];
    }
    case "received":
    case "sent": {
      const { topic, event: name, payload } = event.frame;
      if (topic === "phoenix") return [];
      const arrow = event.kind === "received" ? ">" : "<";
      const reboots = name === "rebooting" && event.identifier === demoBoard;
      return [
        `${event.identifier} ${arrow} ${String(topic)} ${String(name)} ${JSON.stringify(payload)}`,
        ...(reboots ? [`${demoBoard} reboots, which ends its agent: start the agent again`] : []),
      ];
    }
  }
}

/** One line that fits on a terminal, and is whole on a pipe; signed URLs are shortened before it is cut. */
function print(text: string): void {
  const time = new Date().toTimeString().slice(0, 8);
  // Escape sequences of a device must not control this terminal.
  const line = `${time} ${redact(text)}`.replace(/[\x00-\x1f\x7f-\x9f]/g, "?");
  const columns = columnsOf(process.stdout);
  console.log(line.length > columns ? `${line.slice(0, columns - 1)}…` : line);
}

main().catch((error: unknown) => {
  console.error(error instanceof Failure ? error.message : error);
  process.exitCode = error instanceof Failure && error.kind === "usage" ? 64 : 1;
});
