/** The example of docs/control-socket.md, played against a whole agent. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { it } from "node:test";
import { IDENTIFIER, setUpBoard } from "./board.ts";
import { controlPeer } from "./control-peer.ts";

/** The messages that the page shows, with their senders, in their order. */
function dialogue(): { readonly from: "application" | "agent"; readonly message: Record<string, unknown> }[] {
  const page = readFileSync(join(import.meta.dirname, "../../docs/control-socket.md"), "utf8");
  const lines = (/```\n([^]*?)```/.exec(page)?.[1] ?? "").trim().split("\n");
  return lines.map((line) => ({
    from: line.startsWith(">") ? "application" : "agent",
    message: JSON.parse(line.slice(1)) as Record<string, unknown>,
  }));
}

/** A message with the types of its values in place of the values, except for those that name the message. */
function shapeOf(value: unknown, key = ""): unknown {
  if (["type", "method", "event", "role", "update_tool"].includes(key)) return value;
  if (typeof value !== "object" || value === null) return typeof value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, shapeOf(inner, name)]));
}

it("docs/control-socket.md: an agent answers the example's application as the page says", async (test) => {
  const board = await setUpBoard({ config: { app: { update: "ask", reboot: "ask" } } });
  test.after(async () => board.remove());
  const [hello, ...rest] = dialogue();
  await board.start();
  await board.hub.until(() => board.hub.device(IDENTIFIER).online);
  const peer = await controlPeer(board.config().state.controlSocket, hello?.message ?? {});
  test.after(async () => peer.close());
  const v2 = await board.firmware("2.0.0");
  let deployed = false;
  for (const { from, message } of rest) {
    if (from === "application") {
      peer.send(message);
      continue;
    }
    assert.deepEqual(shapeOf(await peer.next()), shapeOf(message));
    if (!deployed) board.hub.deploy(await board.hub.publish(v2.path, v2.meta));
    deployed = true;
  }
  await board.untilRebooted(1);
});
