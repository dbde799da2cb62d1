/** The hub's console of a whole agent: a real shell, and files in both directions. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import type { Agent } from "../../src/agent/agent.ts";
import { eventually } from "../eventually.ts";
import { untilGone } from "../remote/shell-on.ts";
import { IDENTIFIER, setUpBoard, type TestBoard } from "./board.ts";
import { controlPeer } from "./control-peer.ts";

describe("the hub's console", () => {
  let board: TestBoard;
  let agent: Agent | undefined;
  let uploads: string;
  before(async () => {
    board = await setUpBoard();
    uploads = join(board.dir, "uploads");
  });
  afterEach(async () => {
    await agent?.stop();
    agent = undefined;
  });
  after(async () => board.remove());

  const enabled = (console: Readonly<Record<string, unknown>> = {}) => ({
    console: { enabled: true, upload_dir: uploads, max_upload_mib: 1, ...console },
  });
  const start = async (console: Readonly<Record<string, unknown>> = {}): Promise<void> => {
    agent = await board.start(enabled(console));
    await joined();
  };
  const joined = async (times = 1): Promise<void> => {
    const joins = (): number =>
      board.hub
        .device(IDENTIFIER)
        .received.slice(from)
        .filter(({ topic, event }) => topic === "console" && event === "phx_join").length;
    await board.hub.until(() => joins() >= times);
  };
  let from = 0;
  const reset = (): void => {
    from = board.hub.device(IDENTIFIER).received.length;
  };
  const send = (event: string, payload: unknown): void =>
    board.hub.send(IDENTIFIER, "console", event, payload);
  const type = (data: string): void => send("dn", { data });
  /** The output of the console since the last reset. */
  const shown = (): string =>
    board.hub
      .device(IDENTIFIER)
      .received.slice(from)
      .flatMap(({ topic, event, payload }) =>
        topic === "console" && event === "up" ? [(payload as { data: string }).data] : [],
      )
      .join("");
  const shows = async (pattern: RegExp): Promise<void> => {
    await board.hub
      .until(() => pattern.test(shown()))
      .catch(() => {
        assert.fail(`${String(pattern)} is not in ${JSON.stringify(shown().slice(-1000))}`);
      });
  };
  const keepTyping = async (keys: string, pattern: RegExp): Promise<void> => {
    const timer = setInterval(() => type(keys), 200);
    try {
      await shows(pattern);
    } finally {
      clearInterval(timer);
    }
  };
  const upload = async (path: string): Promise<unknown> => {
    const peer = await controlPeer(board.config(enabled()).state.controlSocket, {
      role: "observer",
      subscribe: ["upload_progress"],
    });
    await peer.next();
    try {
      return await peer.request("upload", { path });
    } finally {
      await peer.close();
    }
  };
  const fileOf = (name: string): Buffer =>
    Buffer.concat(
      board.hub
        .device(IDENTIFIER)
        .received.slice(from)
        .flatMap(({ event, payload }) => {
          const { filename, data } = payload as { filename: string; data: string };
          return event === "file-data" && filename === name ? [Buffer.from(data, "base64")] : [];
        }),
    );

  it("is closed unless the configuration enables it", async () => {
    agent = await board.start();
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
    const marker = join(board.dir, "marker");
    type(`touch ${marker}\r`);
    send("restart", {});
    send("file-data/start", { filename: "a" });
    send("file-data/stop", { filename: "a" });
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
    const answer = await upload(board.v1.path);
    assert.deepEqual((answer as { error: unknown }).error, {
      code: "config",
      failure: "config",
      message: "the hub's console is not enabled on this board; set console.enabled",
    });
    assert.equal((await readdir(board.dir)).includes("marker"), false);
    const topics = new Set(board.hub.device(IDENTIFIER).received.map(({ topic }) => topic));
    assert.equal(topics.has("console"), false);
  });

  it("shows a shell from the first message on, in the size of the page", async () => {
    reset();
    await start();
    send("window_size", { height: 33, width: 99 });
    await shows(/[#$] $/);
    type("stty size\r");
    await shows(/33 99\r/);
    send("window_size", { height: 44, width: 120 });
    type("until stty size | grep -q 44; do sleep 0.1; done; stty size\r");
    await shows(/44 120\r/);
  });

  it("shows characters whole when the shell writes them in halves", async () => {
    reset();
    await start();
    type(
      "printf 'gr\\303'; sleep 0.3; printf '\\274n \\360\\237\\230'; sleep 0.3; printf '\\200 \\377\\n'\r",
    );
    // Typed ahead of its prompt, the next line's output would stand behind it.
    await shows(/grün 😀 \ufffd\r[^]*[#$] $/);
    type("echo 'Größe: 😀'\r");
    await shows(/^Größe: 😀\r/m);
  });

  it("starts another shell after one has ended", async () => {
    reset();
    await start();
    type("exit 3\r");
    await shows(/the shell has ended \(3\); a key starts another/);
    await keepTyping("echo again-$((40 + 2))\r", /again-42/); // at most one shell a second is started
  });

  it("restarts a busy shell when it is asked to", async () => {
    reset();
    await start();
    const nap = `sleep 6${process.pid}`;
    type(`export OLD=1; sh -c 'echo na$((1))p; exec ${nap}'\r`);
    await shows(/na1p/);
    send("restart", {});
    await shows(/the shell is restarted[^]*[#$] $/);
    await untilGone(nap);
    type('echo "[$OLD]"\r');
    await shows(/\[\]\r/);
  });

  it("ends the shell when nothing is typed for the idle time", async () => {
    reset();
    await start({ idle_timeout_s: 0.5 });
    const nap = `sleep 5${process.pid}`;
    type(`${nap}\r`);
    await shows(/nothing was typed for 0.5 s: the shell is ended/);
    await untilGone(nap);
  });

  it("keeps the shell while the hub is away", async () => {
    reset();
    await start();
    type("KEPT=yes\r");
    await shows(/KEPT=yes\r/);
    board.hub.terminate(IDENTIFIER);
    await joined(2);
    type("echo kept-$KEPT\r");
    await shows(/kept-yes/);
  });

  it("ends with the agent, together with everything that runs in it", async () => {
    reset();
    await start();
    const nap = `sleep 4${process.pid}`;
    type(`(trap '' HUP TERM; exec ${nap}) & echo st$((1))arted\r`);
    await shows(/st1arted/);
    await agent?.stop();
    agent = undefined;
    await untilGone(nap);
  });

  it("shows why there is no shell", async () => {
    reset();
    await start({ user: "no-such-user" });
    type("\r");
    await shows(/no shell: console\.user: there is no user no-such-user/);
  });

  it("survives malformed messages of the hub", async () => {
    reset();
    await start();
    for (const [event, payload] of [
      ["dn", null],
      ["dn", { data: 1 }],
      ["window_size", { height: "x", width: 1 }],
      ["window_size", { height: -5, width: 1e9 }],
      ["window_size", {}],
      ["file-data", { filename: "x", chunk: 0, data: "???" }],
      ["file-data/start", {}],
      ["nonsense", {}],
      ["dn", { data: "\u0000\u0001\ud800 \u0003" }],
    ] as const) {
      send(event, payload);
    }
    await keepTyping("\r", /[#$] $/); // the Ctrl-C can end a shell that has just started
    await keepTyping("\rstty size\r", /1 1000\r/);
    type("cat > /dev/null\r");
    type("y".repeat(1_000_000));
    await keepTyping("\u0003\recho st$((1))ill\r", /st1ill/); // lost while the shell has not read the flood
    assert.deepEqual(board.hub.device(IDENTIFIER).crashes, []);
  });

  it("sends a file with any content to the hub", async () => {
    reset();
    await start();
    const content = Buffer.alloc(300_001, 1).map((_, n) => n % 251);
    const path = join(board.dir, "core.bin");
    await writeFile(path, content);
    assert.deepEqual(((await upload(path)) as { result: unknown }).result, {
      name: "core.bin",
      size: 300_001,
    });
    assert.ok(fileOf("core.bin").equals(content));
    const events = board.hub
      .device(IDENTIFIER)
      .received.slice(from)
      .flatMap(({ topic, event, payload }) => (topic === "console" ? [[event, payload] as const] : []));
    assert.deepEqual(events.at(1), ["file-data/start", { filename: "core.bin" }]);
    assert.deepEqual(events.at(-1), ["file-data/stop", { filename: "core.bin" }]);
  });

  it("stops sending a file when the application that asked for it has gone, and sends the next one", async () => {
    reset();
    await start({ max_upload_mib: 64 });
    const [large, small] = [join(board.dir, "large"), join(board.dir, "small")];
    await writeFile(large, Buffer.alloc(60 * 1024 * 1024));
    await writeFile(small, "small");
    const hello = { role: "observer", subscribe: ["upload_progress"] };
    const peer = await controlPeer(board.config(enabled()).state.controlSocket, hello);
    await peer.next();
    peer.send({ type: "request", id: "1", method: "upload", params: { path: large } });
    assert.equal((await peer.next())["event"], "upload_progress");
    await peer.close();
    await eventually(async () => {
      const { error } = (await upload(small)) as { error?: { message: string } };
      if (error === undefined) return true;
      assert.equal(error.message, "another file is being sent; wait for it"); // the last piece has not been confirmed yet
      return false;
    }, "the large file is given up");
    assert.ok(fileOf("large").length < 30 * 1024 * 1024);
    assert.equal(fileOf("small").toString(), "small");
  });

  it("sends only what all may read who may use the control socket", async () => {
    reset();
    const folder = await mkdtemp(join(tmpdir(), "hublink-shared-"));
    const [file, closed] = [join(folder, "notes.txt"), join(folder, "closed")];
    try {
      agent = await board.start({ ...enabled(), state: { control_mode: "0666" } });
      await joined();
      const failure = async (path: string): Promise<string | undefined> =>
        ((await upload(path)) as { error?: { failure: string } }).error?.failure;
      await mkdir(closed, { mode: 0o700 });
      for (const path of [file, join(closed, "notes.txt")]) await writeFile(path, "notes", { mode: 0o644 });
      await symlink(join(closed, "notes.txt"), join(folder, "link"));
      await chmod(folder, 0o711);
      assert.equal(await failure(file), undefined);
      assert.equal(await failure(join(closed, "notes.txt")), "permission");
      assert.equal(await failure(join(folder, "link")), "permission");
      await chmod(file, 0o640);
      assert.equal(await failure(file), "permission");
      execFileSync("mkfifo", ["-m", "666", join(folder, "pipe")]);
      assert.equal(await failure(join(folder, "pipe")), "no_input");
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("reports why a file can't be sent", async () => {
    reset();
    await start();
    const refused = async (path: string): Promise<unknown> =>
      ((await upload(path)) as { error: unknown }).error;
    assert.deepEqual(await refused("/no/such/file"), {
      code: "no_input",
      failure: "no_input",
      message: "file /no/such/file does not exist",
    });
    assert.match(JSON.stringify(await refused("/tmp")), /is not a file|is a directory/);
    const large = join(board.dir, "large");
    await writeFile(large, Buffer.alloc(1024 * 1024 + 1));
    assert.match(JSON.stringify(await refused(large)), /larger than console\.max_upload_mib/);
    assert.match(JSON.stringify(await refused("relative")), /upload needs \{path: absolute path\}/);
  });

  it("receives a file from the hub, and says so on the terminal", async () => {
    reset();
    await start();
    const content = Buffer.alloc(10_000, "0123456789");
    send("file-data/start", { filename: "notes.txt", uploaded_by: 1 });
    for (let chunk = 0; chunk * 1024 < content.length; chunk += 1) {
      const data = content.subarray(chunk * 1024, (chunk + 1) * 1024).toString("base64");
      send("file-data", { filename: "notes.txt", chunk, data });
    }
    send("file-data/stop", { filename: "notes.txt" });
    await shows(/received notes\.txt, 10000 bytes, in .*uploads/);
    assert.ok((await readFile(join(uploads, "notes.txt"))).equals(content));
    send("file-data/start", { filename: "../escaped" });
    send("file-data", { filename: "../escaped", chunk: 0, data: "eA==" });
    send("file-data/stop", { filename: "../escaped" });
    await shows(/\.\.\/escaped is not received: its name is no plain file name/);
    assert.deepEqual(await readdir(uploads), ["notes.txt"]);
  });

  it("does not disturb an update when much is shown and typed", async () => {
    reset();
    await start({ max_upload_mib: 64 });
    type("yes\r");
    await shows(/y\r\ny/);
    const v2 = await board.firmware("2.0.0");
    board.hub.deploy(await board.hub.publish(v2.path, v2.meta));
    let floods = 0;
    const flood = setInterval(() => {
      for (let n = 0; n < 1000; n += 1) type("x");
      floods += 1;
      if (floods === 100) clearInterval(flood);
    }, 10);
    try {
      await board.untilRebooted(1);
    } finally {
      clearInterval(flood);
      board.hub.undeploy();
    }
    const words = board.hub.device(IDENTIFIER).statuses.map(({ status }) => status);
    assert.equal(words.at(-1), "completed");
    assert.equal((await board.environment()).get("nerves_fw_active"), "b");
    assert.deepEqual(board.hub.device(IDENTIFIER).crashes, []);
  });
});
