/** The examples of docs/control-socket.md, played against a whole agent. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { it } from "node:test";
import { IDENTIFIER, setUpBoard } from "./board.ts";
import { controlPeer } from "./control-peer.ts";

/** The messages of the example that has this text, with their senders, in their order. */
function dialogue(
  text: string,
): { readonly from: "application" | "agent"; readonly message: Record<string, unknown> }[] {
  const page = readFileSync(join(import.meta.dirname, "../../docs/control-socket.md"), "utf8");
  const examples = [...page.matchAll(/```\n([^]*?)```/g)].map(([, example = ""]) => example);
  const lines = (examples.find((example) => example.includes(text)) ?? "").trim().split("\n");
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
  const [hello, ...rest] = dialogue("update_available");
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

it("docs/control-socket.md: an application chooses the moment of an update as the page says", async (test) => {
  const board = await setUpBoard({ hub: { api: "2.4" }, config: { app: { reboot: "never" } } });
  test.after(async () => board.remove());
  await board.start();
  await board.hub.until(() => board.hub.device(IDENTIFIER).online);
  board.hub.manageUpdates(IDENTIFIER, { mode: "automatic", allowed: true });
  const peer = await controlPeer(board.config().state.controlSocket, {});
  test.after(async () => peer.close());
  await peer.next();
  const v2 = await board.firmware("2.0.0");
  const release = await board.hub.publish(v2.path, v2.meta);
  for (const { from, message } of dialogue("update_check")) {
    if (from === "application") peer.send(message);
    else assert.deepEqual(shapeOf(await peer.next()), shapeOf(message));
    const managed = board.hub.device(IDENTIFIER).managed.mode === "device_managed";
    if (managed && board.hub.device(IDENTIFIER).inFlight === undefined) board.hub.deploy(release);
  }
  await board.hub.until(() => board.hub.device(IDENTIFIER).statuses.at(-1)?.status === "completed");
});

it("docs/control-socket.md: people at the hub use an application's components as the page says", async (test) => {
  const config = { extensions: { health: false, components: true } };
  const board = await setUpBoard({ hub: { api: "2.4" }, config });
  test.after(async () => board.remove());
  const [hello, ...rest] = dialogue("component_action");
  await board.start();
  await board.hub.until(() => board.hub.device(IDENTIFIER).attached.has("components"));
  const peer = await controlPeer(board.config().state.controlSocket, hello?.message ?? {});
  test.after(async () => peer.close());
  const assemblies = () => board.hub.device(IDENTIFIER).topology?.assemblies.length;
  const people = async () => {
    await board.hub.until(() => assemblies() === 1);
    return [
      await board.hub.runAction(IDENTIFIER, "valve", "flush"),
      await board.hub.setMode(IDENTIFIER, "valve", "state", "open"),
    ];
  };
  let results: ReturnType<typeof people> | undefined;
  for (const { from, message } of rest) {
    if (from === "application") {
      peer.send(message);
      continue;
    }
    assert.deepEqual(shapeOf(await peer.next()), shapeOf(message));
    if (message["type"] === "response") results = people();
  }
  assert.deepEqual(
    (await results)?.map(({ status, output }) => [status, output]),
    [
      ["ok", "flushed in 3 s"],
      ["error", "the valve is jammed"],
    ],
  );
  await peer.close();
  await board.hub.until(() => assemblies() === 0);
});
