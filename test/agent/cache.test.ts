/** Updates through the download cache, on a whole agent: restarts fetch no proven byte twice. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, it } from "node:test";
import { eventually } from "../eventually.ts";
import type { Release } from "../hub/releases.ts";
import { holdAfter } from "./held-download.ts";
import { IDENTIFIER, setUpBoard, type TestBoard } from "./board.ts";

const MIB = 1024 * 1024;

describe("an update that is cached first", () => {
  let board: TestBoard;
  afterEach(async () => board.remove());

  const setUp = async (update: Readonly<Record<string, unknown>> = {}): Promise<Release> => {
    board = await setUpBoard();
    const v2 = await board.firmware("2.0.0");
    const release = await board.hub.publish(v2.path, v2.meta);
    await board.start(configOf(update));
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
    return release;
  };
  const configOf = (update: Readonly<Record<string, unknown>> = {}) => ({
    update: { retry: { delay_s: 0.01 }, mode: "auto", cache_dir: join(board.dir, "cache"), ...update },
  });
  const rebooting = async (): Promise<unknown> =>
    board.hub.waitFor(IDENTIFIER, ({ event }) => event === "rebooting");
  const words = (): string[] => board.hub.device(IDENTIFIER).statuses.map(({ status }) => status);

  it("is complete before the other slot is touched, shows both stages, and leaves nothing behind", async () => {
    const release = await setUp({ connections: 2 });
    board.hub.deploy(release);
    await rebooting();
    const { progress } = board.hub.device(IDENTIFIER);
    const stages = progress.map(({ stage }) => stage);
    assert.deepEqual([...new Set(stages)], ["downloading", "updating"]);
    assert.deepEqual(stages, [...stages].sort());
    assert.deepEqual(words(), ["received", "started", "completed"]);
    assert.deepEqual(readdirSync(join(board.dir, "cache")), []);
  });

  it("goes on by itself after the agent was restarted, and no proven byte is fetched twice", async () => {
    const release = await setUp();
    const download = holdAfter(1024 * 1024 + 500_000);
    board.hub.faults.add(download, 1);
    board.hub.deploy(release);
    await download.held;
    const cached = join(board.dir, "cache", `${release.meta.uuid}.fw.part`);
    await eventually(
      () => existsSync(cached) && statSync(cached).size > 1024 * 1024,
      "a part is in the cache",
    );
    await board.restart(configOf());
    await board.saw(/an update was under way; it goes on once the hub is joined/);
    await rebooting();
    const device = board.hub.device(IDENTIFIER);
    const { currently_downloading_uuid: named } = device.joins.at(-1) as Record<string, unknown>;
    assert.equal(named, release.meta.uuid);
    const [, second, ...more] = board.hub.downloads.map(({ range }) => range ?? "all");
    assert.ok(Number(/^bytes=(\d+)-\d+$/.exec(second ?? "")?.[1]) >= 1024 * 1024, second);
    assert.deepEqual(more, []);
    assert.equal(words().at(-1), "completed");
    assert.equal((await board.environment()).get("b.nerves_fw_uuid"), release.meta.uuid);
  });

  it("goes on after its last synced byte when the hub announces no parts, also past the first MiB", async () => {
    board = await setUpBoard();
    const v2 = await board.firmware("2.0.0", { rootfs: { sizeBytes: 3.5 * MIB, seed: "large" } });
    const release = await board.hub.publish(v2.path, v2.meta);
    await board.start(configOf());
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
    const download = holdAfter(2.5 * MIB);
    board.hub.faults.add(download, 1);
    const withoutParts = { partials_checksums: null };
    board.hub.pushUpdate(IDENTIFIER, release, withoutParts);
    await download.held;
    const cached = join(board.dir, "cache", `${release.meta.uuid}.fw.part`);
    await eventually(() => existsSync(cached) && statSync(cached).size > 2 * MIB, "two MiB are in the cache");
    await board.restart(configOf());
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
    board.hub.pushUpdate(IDENTIFIER, release, withoutParts);
    await rebooting();
    const [, second, ...more] = board.hub.downloads.map(({ range }) => range ?? "all");
    assert.ok(Number(/^bytes=(\d+)-\d+$/.exec(second ?? "")?.[1]) > 2 * MIB, second);
    assert.deepEqual(more, []);
    assert.equal((await board.environment()).get("b.nerves_fw_uuid"), release.meta.uuid);
  });
});
