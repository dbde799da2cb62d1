/**
 * The page of `npm run hub`: the console of a device in a browser, and what the device reported. It relays between
 * the page's WebSocket and the device's topics `console` and `extensions`.
 */
import { readFile } from "node:fs/promises";
import { createServer, type ServerResponse } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { WebSocketServer, type WebSocket } from "ws";
import { systemClock } from "../../src/platform/clock.ts";
import { inTime } from "../eventually.ts";
import { every } from "./channels/channel.ts";
import { REPORT_TABS, type ReportTab } from "./report-tabs.ts";
import type { Hub } from "./server.ts";

/** The hub's page with the console of each device, on a port of its own. */
export interface ConsolePage {
  readonly url: string;
  stop(): Promise<void>;
}

const require = createRequire(import.meta.url);
const FILES: Readonly<Record<string, readonly [path: string, type: string]>> = {
  "/": [join(import.meta.dirname, "console-page.html"), "text/html; charset=utf-8"],
  "/xterm.js": [require.resolve("@xterm/xterm/lib/xterm.js"), "text/javascript"],
  "/xterm.css": [require.resolve("@xterm/xterm/css/xterm.css"), "text/css"],
  "/addon-fit.js": [require.resolve("@xterm/addon-fit/lib/addon-fit.js"), "text/javascript"],
};

/**
 * Serves the page on 127.0.0.1.
 * @throws the system's error, such as `EADDRINUSE`
 */
export async function startConsolePage(hub: Hub, port = 0): Promise<ConsolePage> {
  const server = createServer((request, response) => {
    const path = request.url ?? "";
    if (path === "/devices") {
      const devices = hub.devices.map((name) => ({ name, connected: hub.device(name).connected }));
      answer(response, 200, "application/json", JSON.stringify(devices));
      return;
    }
    const [file, type] = FILES[path] ?? [];
    if (file === undefined || type === undefined) {
      answer(response, 404, "text/plain", "not found");
      return;
    }
    readFile(file).then(
      (content) => answer(response, 200, type, content),
      (error: unknown) => answer(response, 500, "text/plain", String(error)),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;

  const sockets = new WebSocketServer({ noServer: true });
  server.on("upgrade", (request, socket, head) => {
    const url = new URL(request.url ?? "", `http://${host}`);
    // Any page in the browser could open a shell on the board otherwise.
    if (request.headers.origin !== `http://${host}` || url.pathname !== "/socket") {
      socket.end("HTTP/1.1 403 Forbidden\r\n\r\n");
      return;
    }
    const device = url.searchParams.get("device") ?? "";
    const tab = tabOf(url.searchParams.get("tab") ?? "");
    sockets.handleUpgrade(request, socket, head, (webSocket) => tab(hub, device, webSocket));
  });

  return {
    url: `http://${host}/`,
    async stop() {
      for (const webSocket of sockets.clients) webSocket.terminate();
      sockets.close();
      server.closeAllConnections();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      await inTime(closed, "the page's server closes");
    },
  };
}

function answer(response: ServerResponse, status: number, type: string, body: string | Buffer): void {
  response.writeHead(status, { "content-type": type }).end(body);
}

type OpenTab = (hub: Hub, device: string, page: WebSocket) => void;

function tabOf(name: string): OpenTab {
  const reports = REPORT_TABS[name];
  if (reports !== undefined) return reportTab(reports);
  return name === "local_shell" ? localShellTab : consoleTab;
}

/** Relays between page and topic `console`, as NervesHub does, and begins with the scrollback. */
function consoleTab(hub: Hub, device: string, page: WebSocket): void {
  relay(page, {
    toPage: (show) => {
      show("up", { data: hub.device(device).console });
      return hub.follow(device, ({ topic, event, payload }) => {
        if (topic === "console") show(event, payload);
      });
    },
    toDevice(event, payload) {
      if (hub.device(device).connected) hub.send(device, "console", event, payload);
    },
  });
}

const LOCAL_SHELL_EVENTS: Readonly<Record<string, string | undefined>> = {
  dn: "local_shell:shell_input",
  window_size: "local_shell:window_size",
};

/** Relays between page and the extension `local_shell`. */
function localShellTab(hub: Hub, device: string, page: WebSocket): void {
  relay(page, {
    toPage: (show) =>
      hub.follow(device, ({ event, payload }) => {
        if (event === "local_shell:shell_output") show("up", payload);
      }),
    toDevice(event, payload) {
      const name = LOCAL_SHELL_EVENTS[event];
      if (name !== undefined && hub.device(device).connected) hub.send(device, "extensions", name, payload);
    },
  });
}

/** Shows the tables, and again after each message of the device; the page's buttons send messages to it. */
function reportTab({ tables, watched }: ReportTab): OpenTab {
  return (hub, device, page) => {
    const toDevice = (event: string, payload: unknown): void => {
      const { connected, attached } = hub.device(device);
      if (connected && attached.has(event.split(":")[0] ?? ""))
        hub.send(device, "extensions", event, payload);
    };
    relay(page, {
      toPage(show) {
        const draw = (): void => show("tables", tables(hub.device(device)));
        draw();
        const ask = (): void => {
          if (watched !== undefined) toDevice(watched.event, {});
        };
        ask();
        const endWatch = watched === undefined ? undefined : every(systemClock, watched.everyMs, ask);
        const endFollow = hub.follow(device, () => queueMicrotask(draw)); // the hub reads the message after this
        return () => {
          endWatch?.();
          endFollow();
        };
      },
      toDevice,
    });
  };
}

interface Tab {
  /** @returns a function that ends it */
  readonly toPage: (show: (event: unknown, payload: unknown) => void) => () => void;
  readonly toDevice: (event: string, payload: unknown) => void;
}

function relay(page: WebSocket, tab: Tab): void {
  const end = tab.toPage((event, payload) => page.send(JSON.stringify([event, payload])));
  page.on("close", end);
  page.on("error", () => page.terminate());
  page.on("message", (data) => {
    // Our own page's messages, in the tests' own process.
    const [event, payload] = JSON.parse((data as Buffer).toString("utf8")) as [string, unknown];
    tab.toDevice(event, payload);
  });
}
