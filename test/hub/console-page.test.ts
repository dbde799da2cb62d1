/** The page of `npm run hub` in a real browser, with a real agent and shell behind it. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { copyFile, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { chromium, type BrowserContext, type Page } from "playwright-core";
import { WebSocket } from "ws";
import type { Agent } from "../../src/agent/agent.ts";
import { inTime, PATIENCE_MS } from "../eventually.ts";
import { connectToDaemon } from "../../src/control/client.ts";
import { IDENTIFIER, setUpBoard, type TestBoard } from "../agent/board.ts";
import type { Tables } from "../agent/factory.ts";
import { hublink } from "../cli/program.ts";
import { startConsolePage, type ConsolePage } from "./console-page.ts";

/** Debian's, the lighter one first: it has no window to show. */
const CHROMIUM = ["/usr/bin/chromium-headless-shell", "/usr/bin/chromium"].find((path) => existsSync(path));
/** The browser may connect to the test's own server only. */
const FLAGS = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
];
/** `SCREENSHOT=docs/console.png scripts/test test/hub/console-page.test.ts` makes the documentation's. */
const { SCREENSHOT } = process.env;

describe("the console in a browser", { skip: CHROMIUM === undefined && "chromium is not installed" }, () => {
  let board: TestBoard;
  let agent: Agent;
  let served: ConsolePage;
  let browser: BrowserContext;
  let page: Page;
  let uploads: string;
  let config: Tables;
  const speed = join(tmpdir(), `hublink-speed-${process.pid}`);
  before(async () => {
    const mode = {
      identifier: "speed",
      values: ["low", "high"],
      get: `cat ${speed}`,
      set: `echo "$1" > ${speed}`,
    };
    const action = { identifier: "restart", label: "Restart", confirm: true, command: "echo it runs again" };
    board = await setUpBoard({
      hub: { api: "2.4" },
      config: {
        extensions: { error_reports: true },
        component: [{ identifier: "pump", label: "Pump", action: [action], mode: [mode] }],
      },
    });
    uploads = join(board.dir, "uploads");
    config = {
      console: { enabled: true, upload_dir: uploads },
      extensions: { alarms: true, metrics: true },
    };
    agent = await board.start(config);
    await board.hub.waitFor(IDENTIFIER, ({ topic, event }) => topic === "console" && event === "phx_join");
    served = await startConsolePage(board.hub);
    browser = await chromium.launchPersistentContext(join(board.dir, "browser"), {
      ...(CHROMIUM !== undefined && { executablePath: CHROMIUM }),
      args: FLAGS,
      env: { PATH: process.env["PATH"] ?? "", HOME: join(board.dir, "browser") }, // a home that can be written
      headless: true,
      viewport: { width: 900, height: 420 },
      acceptDownloads: true,
    });
    page = await browser.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    await page.goto(served.url);
    await shows(/[#$] $/);
  });
  after(async () => {
    await browser.close();
    await served.stop();
    await rm(speed, { force: true });
    await board.remove();
  });

  /** The terminal's text as a person sees it, with the lines that have scrolled away. */
  const screen = async (): Promise<string> =>
    page.evaluate<string>(`(() => {
      const { active } = terminal.buffer;
      return Array.from({ length: active.length }, (_, n) => active.getLine(n).translateToString(true)).join("\\n");
    })()`);
  const shows = async (pattern: RegExp): Promise<RegExpExecArray> => {
    const shown = { text: "" };
    const match = async (): Promise<RegExpExecArray> => {
      for (;;) {
        shown.text = (await screen()).trimEnd();
        const found = pattern.exec(`${shown.text} `);
        if (found !== null) return found;
        await page.waitForTimeout(50);
      }
    };
    return inTime(match(), () => `${String(pattern)} on the screen, which shows\n${shown.text}`);
  };
  const type = async (line: string): Promise<void> => {
    await page.keyboard.type(`${line}\n`);
  };
  const size = async (): Promise<string> => page.evaluate<string>("`${terminal.rows} ${terminal.cols}`");

  it("is a terminal of the window's size", async () => {
    await type("stty size");
    const before = await size();
    await shows(new RegExp(`^${before}$`, "m"));
    await page.setViewportSize({ width: 760, height: 500 });
    await page.waitForFunction(`\`\${terminal.rows} \${terminal.cols}\` !== "${before}"`);
    const after = await size();
    await type(`until [ "$(stty size)" = "${after}" ]; do sleep 0.1; done; echo now $(stty size)`);
    await shows(new RegExp(`^now ${after}$`, "m"));
  });

  it("ends a sleep with Ctrl-C", async () => {
    await type("sh -c 'echo be$((1))gin; exec sleep 1000'");
    await shows(/be1gin/);
    await page.keyboard.press("Control+c");
    await shows(/\^C[^]*[#$] $/);
  });

  it("accepts 10 kB of pasted text", async () => {
    const pasted = join(board.dir, "pasted");
    const text = Array.from({ length: 200 }, (_, n) => `${String(n).padStart(3)} ${"é".repeat(23)}x`).join(
      "\n",
    );
    assert.ok(Buffer.byteLength(text) >= 10_000);
    await type(`cat > ${pasted}; wc -c < ${pasted}`);
    await page.evaluate(`terminal.paste(${JSON.stringify(`${text}\n`)})`);
    await shows(/199 é+x/);
    await page.keyboard.press("Control+d");
    await shows(new RegExp(`^${Buffer.byteLength(text) + 1}$`, "m"));
    assert.equal(await readFile(pasted, "utf8"), `${text}\n`);
  });

  it("sends a file to the board", async () => {
    const content = Buffer.alloc(300_000).map((_, n) => n % 256);
    await mkdir(join(board.dir, "mine"));
    const mine = join(board.dir, "mine", "firmware notes.bin");
    await writeFile(mine, content);
    await page.setInputFiles("#file", mine);
    await shows(/received firmware notes\.bin, 300000 bytes/);
    assert.ok((await readFile(join(uploads, "firmware notes.bin"))).equals(content));
  });

  it("receives a file that hublink upload sends from the board", async () => {
    const content = Buffer.alloc(200_000, "log line\n");
    const log = join(board.dir, "messages.log");
    await writeFile(log, content);
    const downloading = page.waitForEvent("download");
    const config = await board.writeConfig({ console: { enabled: true } });
    const { code, stdout, stderr } = await hublink(["upload", log, "--config", config]);
    assert.deepEqual([code, stderr], [0, ""]);
    assert.equal(stdout, "sent messages.log, 195 KiB, to the hub's console\n");
    const download = await downloading;
    assert.equal(download.suggestedFilename(), "messages.log");
    assert.ok((await readFile(await download.path())).equals(content));
  });

  it("goes on after the page is reloaded", async () => {
    await type("clear; KEPT=yes");
    await page.reload();
    await shows(/[#$] $/);
    await page.click("#terminal");
    await type("echo kept-$KEPT");
    await shows(/kept-yes/);
    if (SCREENSHOT === undefined) return;
    await type(`cd ${uploads}; PS1='board-1# '; clear; stty size`);
    await shows(/^\n*\d+ \d+\nboard-1# $/);
    await type("ls");
    await shows(/firmware notes\.bin[^]*board-1# $/);
    await type("sh -c 'echo be$((1))gun; exec sleep 1000'");
    await shows(/be1gun/);
    await page.keyboard.press("Control+c");
    await shows(/\^C[^]*board-1# $/);
    await page.screenshot({ path: join(board.dir, "console.png") });
    await copyFile(join(board.dir, "console.png"), SCREENSHOT);
    assert.ok((await stat(SCREENSHOT)).size < 100_000);
  });

  it("says that the board is off, and that it is back", async () => {
    const says = async (text: string): Promise<void> => {
      await page.waitForFunction(`document.getElementById("state").textContent === "${text}"`);
    };
    await says("connected");
    await agent.stop();
    await says("the board is off: start its agent");
    agent = await board.start(config);
    await says("connected");
  });

  it("shows what the board reported, on the tabs for it", async () => {
    const reportShows = async (text: string): Promise<void> => {
      await page.waitForFunction(`document.getElementById("report").innerText.includes("${text}")`);
    };
    const { attached } = board.hub.device(IDENTIFIER);
    await board.hub.until(() => attached.has("alarms") && attached.has("metrics"));
    await page.selectOption("#tab", "metrics"); // which asks for them
    await reportShows("disk_total_kb");
    await page.selectOption("#tab", "alarms");
    await reportShows("History");
    const daemon = await connectToDaemon({ path: board.config().state.controlSocket });
    assert(daemon);
    await daemon.request("alarm_raise", { alarm: "pump", description: "it does not turn" });
    await reportShows("it does not turn");
    await daemon.request("alarm_clear", { alarm: "pump" });
    await reportShows("resolved");
    daemon.close();
    await page.selectOption("#tab", "console");
    await shows(/[#$] $/);
  });

  it("shows errors, and has buttons for components, which ask if the board wants that", async () => {
    const daemon = await connectToDaemon({ path: board.config().state.controlSocket });
    await daemon?.request("report_error", { reason: "no pressure" });
    daemon?.close();
    const reportShows = async (text: string): Promise<void> => {
      await page.waitForFunction(
        `document.getElementById("report").innerText.replaceAll("\\t", " ").includes("${text}")`,
      );
    };
    await page.selectOption("#tab", "errors");
    await reportShows("error: no pressure 1");
    await page.selectOption("#tab", "components");
    await reportShows("Pump");
    const questions: string[] = [];
    page.on("dialog", (dialog) => {
      questions.push(dialog.message());
      dialog.accept().catch(() => undefined); // the page has gone: the test fails by itself
    });
    await page.click("#report button:has-text('Restart')");
    await reportShows("restart ok it runs again");
    assert.deepEqual(questions, ["Restart?"]);
    await page.click("#report button:has-text('high')");
    await reportShows("speed high low high");
    await page.selectOption("#tab", "console");
    await shows(/[#$] $/);
  });

  it("gives no shell to any other page", async () => {
    const url = served.url.replace("http", "ws");
    for (const origin of [undefined, "http://evil.example"]) {
      const socket = new WebSocket(`${url}socket?device=${IDENTIFIER}`, {
        ...(origin !== undefined && { origin }),
      });
      const error = new Promise<Error>((resolve) => socket.once("error", resolve));
      const refused = await inTime(error, "the refusal");
      assert.match(refused.message, /403/);
    }
  });
});
