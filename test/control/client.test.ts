/** The command line's end of the control socket, against the daemon's and against programs that are neither. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { connectToDaemon } from "../../src/control/client.ts";
import { inTime } from "../eventually.ts";

describe("a command that connects to the daemon", () => {
  let dir: string;
  let path: string;
  let server: Server | undefined;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "hublink-client-"));
    path = join(dir, "hublink.sock");
  });
  afterEach(async () => {
    const closed = new Promise<void>((resolve) => {
      if (server === undefined) resolve();
      else server.close(() => resolve());
    });
    await inTime(closed, "the server closes");
    await rm(dir, { recursive: true });
  });

  /** Listens in the daemon's place, and answers each line by its type. */
  const listen = async (answers: Readonly<Record<string, unknown>>): Promise<void> => {
    const made = createServer((socket) => {
      socket.on("error", () => undefined); // the command may break off at any time
      socket.on("data", (data) => {
        const { type, id } = JSON.parse(data.toString("utf8")) as { type: string; id?: string };
        const answer = answers[type];
        socket.write(typeof answer === "string" ? answer : `${JSON.stringify({ id, ...Object(answer) })}\n`);
      });
    });
    server = made;
    await new Promise<void>((resolve) => made.listen(path, resolve));
  };
  const WELCOME = { type: "welcome", agent_version: "1", api: 1, role: "observer", update_tool: "fwup" };

  const errors: readonly [name: string, error: object, code: string, kind: string][] = [
    ["the code of an old daemon", { code: "no_input" }, "no_input", "no-input"],
    ["failed instead of an unknown code", { code: "ignored" }, "failed", "other"],
    [
      "the code of the failure",
      { code: "unavailable", failure: "reboot_pending" },
      "reboot_pending",
      "unavailable",
    ],
    [
      "the general code for an unknown failure of a newer daemon",
      { code: "io", failure: "disk_melted" },
      "io",
      "io",
    ],
    [
      "the general code for a failure of another kind, which would change the exit code",
      { code: "failed", failure: "fwup_stalled" },
      "failed",
      "other",
    ],
    [
      "the general code for a failure named like a built-in property",
      { code: "io", failure: "toString" },
      "io",
      "io",
    ],
  ];
  for (const [name, error, code, kind] of errors) {
    it(`fails with ${name}`, async () => {
      await listen({
        hello: WELCOME,
        request: { type: "response", error: { message: "no", ...error } },
      });
      const daemon = await connectToDaemon({ path });
      await assert.rejects(async () => daemon?.request("status"), { code, kind, message: "no" });
      daemon?.close();
    });
  }

  it("fails when another program listens there", async () => {
    await listen({ hello: "HTTP/1.1 400 Bad Request\r\n\r\n" });
    await assert.rejects(connectToDaemon({ path }), {
      code: "daemon_unreachable",
      message: `another program than hublink answers on ${path}; correct state.control_socket`,
    });
  });

  it("gets no daemon where nothing listens", async () => {
    assert.equal(await connectToDaemon({ path }), undefined);
  });
});
