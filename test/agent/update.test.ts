/**
 * Updates from the hub that succeed, on a whole agent with fwup: from the message to the validated firmware.
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { afterEach, describe, it } from "node:test";
import { scriptedFwup } from "../firmware/fwups.ts";
import { changingEtag, refuseDownload, resetAfter } from "../hub/faults.ts";
import type { Release } from "../hub/releases.ts";
import { holdAfter } from "./held-download.ts";
import { IDENTIFIER, setUpBoard, type TestBoard, type TestBoardOptions } from "./board.ts";

describe("an update from the hub", () => {
  let board: TestBoard;
  afterEach(async () => board.remove());

  /** A board that has joined, and 2.0.0 published on its hub. */
  const setUp = async (options?: TestBoardOptions): Promise<Release> => {
    board = await setUpBoard(options);
    const v2 = await board.firmware("2.0.0");
    const release = await board.hub.publish(v2.path, v2.meta);
    await board.start();
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
    return release;
  };
  const words = (): string[] => board.hub.device(IDENTIFIER).statuses.map(({ status }) => status);
  const rebooting = async (): Promise<unknown> =>
    board.hub.waitFor(IDENTIFIER, ({ event }) => event === "rebooting");

  it("is installed in the other slot, booted, reported in the join, and validated", async () => {
    const release = await setUp();
    board.hub.deploy(release);
    await rebooting();
    assert.deepEqual(words(), ["received", "started", "completed"]);
    const environment = await board.environment();
    assert.equal(environment.get("nerves_fw_active"), "b");
    assert.equal(environment.get("b.nerves_fw_uuid"), release.meta.uuid);
    assert.equal(environment.get("nerves_fw_validated"), "0");

    await board.untilRebooted(1);
    await board.reboot();
    await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "firmware_validated");
    const device = board.hub.device(IDENTIFIER);
    assert.deepEqual(device.updated, [release.meta.uuid]);
    assert.equal((await board.environment()).get("nerves_fw_validated"), "1");
    assert.deepEqual(device.crashes, []);
    assert.equal(device.networkInterface, "unknown"); // the hub knows no type for lo
  });

  const [way] = Object.entries(networkInterfaces()).flatMap(([name, all]) =>
    (all ?? []).flatMap(({ internal, address, family }) =>
      internal || family !== "IPv4" ? [] : [{ name, address }],
    ),
  );
  it(
    "is reported with the interface of its download, also when the hub uses another",
    { skip: way === undefined },
    async () => {
      const release = await setUp();
      board.hub.pushUpdate(IDENTIFIER, release, { firmware_url: `https://${way?.address}:9/v2.fw` });
      const { payload } = await board.hub.waitFor(IDENTIFIER, ({ payload: sent }) => {
        return (sent as { status?: string }).status === "started";
      });
      assert.deepEqual(payload, { status: "started", downloader_network_interface: way?.name });
      assert.equal(board.hub.device(IDENTIFIER).networkInterface, "unknown"); // lo
    },
  );

  it("is noted as installed before the reboot, and not as interrupted", async () => {
    const release = await setUp();
    board.hub.deploy(release);
    await rebooting();
    const journal = await readFile(join(board.dir, "state/journal.json"), "utf8");
    const { attempts } = JSON.parse(journal) as { attempts: readonly Record<string, unknown>[] };
    const [{ uuid, brokenOff, ended } = {}, ...others] = attempts;
    assert.deepEqual([uuid, brokenOff, others], [release.meta.uuid, 0, []]);
    assert.equal((ended as { result: string } | null)?.result, "installed");
  });

  it("works without an ops file, by the U-Boot variables alone", async () => {
    const release = await setUp({ ops: false });
    board.hub.deploy(release);
    await rebooting();
    await board.untilRebooted(1);
    await board.reboot();
    await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "firmware_validated");
    const environment = await board.environment();
    assert.equal(environment.get("nerves_fw_validated"), "1");
    assert.equal(environment.get("upgrade_available"), "0");
  });

  it("is read back by fwup when update.verify_written is set", async () => {
    board = await setUpBoard();
    const asked = join(board.dir, "arguments");
    const lines = [`echo "$*" >> ${asked}`, `exec ${board.config().firmware.fwup} "$@"`];
    const fwup = await scriptedFwup(board.dir, ...lines);
    const v2 = await board.firmware("2.0.0");
    await board.start({ firmware: { fwup }, update: { verify_written: true } });
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
    board.hub.deploy(await board.hub.publish(v2.path, v2.meta));
    await rebooting();
    assert.equal(words().at(-1), "completed");
    assert.match(await readFile(asked, "utf8"), /^--framing --apply .*--task upgrade .*--verify-writes/m);
  });

  it("causes a warning at the start when fwup is too old to read it back", async () => {
    board = await setUpBoard();
    const lines = [
      `[ "$1" = --version ] && { echo 1.6.9; exit; }`,
      `exec ${board.config().firmware.fwup} "$@"`,
    ];
    await board.start({
      firmware: { fwup: await scriptedFwup(board.dir, ...lines) },
      update: { verify_written: true },
    });
    await board.saw(/no update can be installed: fwup 1\.6\.9 can't verify what it writes; 1\.7\.0 can/);
  });

  it("shows its progress in whole percents that only grow", async () => {
    const release = await setUp();
    board.hub.deploy(release);
    await rebooting();
    const { progress } = board.hub.device(IDENTIFIER);
    const values = progress.map(({ value }) => value);
    assert.deepEqual(
      values,
      [...new Set(values)].sort((a, b) => a - b),
    );
    assert.equal(values.at(-1), 100);
    assert.ok(progress.every(({ stage }) => stage === "updating"));
  });

  it("is accepted in the reply to the join, as old servers send it", async () => {
    const release = await setUp();
    board.hub.deploy(release, { inJoinReply: true });
    board.hub.disconnect(IDENTIFIER);
    await rebooting();
    assert.deepEqual(words(), ["received", "started", "completed"]);
  });

  it("asks 24: goes on while the hub is away, and its result is sent over the next connection", async () => {
    const release = await setUp();
    const download = holdAfter(1024 * 1024 + 1);
    board.hub.faults.add(download, 1);
    board.hub.deploy(release);
    await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "fwup_progress");
    const device = board.hub.device(IDENTIFIER);
    const joinsBefore = device.joins.length;
    board.hub.terminate(IDENTIFIER);
    await board.hub.until(() => device.joins.length > joinsBefore && device.online);
    const rejoin = device.joins.at(-1) as { currently_downloading_uuid: unknown };
    assert.equal(rejoin.currently_downloading_uuid, release.meta.uuid);
    download.goOn();
    await rebooting();
    assert.deepEqual(words(), ["received", "started", "completed"]);
  });

  it("asks 14: goes on after an interrupted download, and fetches no verified byte twice", async () => {
    const release = await setUp();
    board.hub.faults.add(resetAfter(1024 * 1024 + 500_000), 1);
    board.hub.deploy(release);
    await rebooting();
    const [first, second, ...more] = board.hub.downloads.map(({ range }) => range ?? "all");
    assert.equal(first, "all");
    assert.ok(Number(/^bytes=(\d+)-$/.exec(second ?? "")?.[1]) >= 1024 * 1024, second);
    assert.deepEqual(more, []);
    assert.deepEqual(words(), ["received", "started", "completed"]);
  });

  it("asks 4: asks the hub for a fresh URL once its own has expired, and keeps what is proven", async () => {
    const release = await setUp();
    const download = holdAfter(1024 * 1024 + 500_000);
    board.hub.faults.add(download, 1);
    board.hub.deploy(release);
    await download.held;
    board.hub.faults.add(refuseDownload(403), 1);
    download.breakOff();
    await rebooting();
    const device = board.hub.device(IDENTIFIER);
    assert.equal(device.connections, 1, "the connection was left alone");
    assert.deepEqual(
      device.joins.map(
        (join) => (join as { currently_downloading_uuid: unknown }).currently_downloading_uuid,
      ),
      [null, null],
    );
    const statuses = board.hub.downloads.map(({ status }) => status);
    assert.deepEqual(statuses, [200, 403, 206]);
    assert.ok(Number(/^bytes=(\d+)-$/.exec(board.hub.downloads[2]?.range ?? "")?.[1]) >= 1024 * 1024);
    assert.deepEqual(words(), ["received", "started", "completed"]);
  });

  it("asks 12: fails when fresh URLs do not work either, and the hub gets the reason", async () => {
    const release = await setUp();
    board.hub.faults.add(refuseDownload(404));
    board.hub.deploy(release);
    await board.hub.until(() => words().at(-1) === "failed");
    const device = board.hub.device(IDENTIFIER);
    assert.match(String(device.statuses.at(-1)?.reason), /answers HTTP 404/);
    assert.equal(board.hub.downloads.length, 4);
    assert.deepEqual(device.crashes, []);
  });

  it("asks 10: starts over once when a file that nothing proves changes after some of it was written", async () => {
    const release = await setUp();
    const download = holdAfter(1024 * 1024);
    board.hub.faults.add(download, 1);
    board.hub.pushUpdate(IDENTIFIER, release, { checksum: null, partials_checksums: null });
    await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "fwup_progress");
    const off = board.hub.faults.add(changingEtag());
    download.breakOff();
    await board.saw(/the update starts over/);
    off();
    await rebooting();
    assert.deepEqual(words(), ["received", "started", "completed"]);
  });

  it("is ignored while the same update runs, and waits while another one does", async () => {
    const release = await setUp();
    const v3 = await board.firmware("3.0.0");
    const other = await board.hub.publish(v3.path, v3.meta);
    const download = holdAfter(100_000);
    board.hub.faults.add(download, 1);
    board.hub.pushUpdate(IDENTIFIER, release);
    await download.held;
    board.hub.pushUpdate(IDENTIFIER, release);
    board.hub.pushUpdate(IDENTIFIER, other);
    await board.saw(/another update waits/);
    board.hub.faults.add(refuseDownload(404), 1);
    download.breakOff();
    await rebooting();
    assert.deepEqual(words(), ["received", "started", "failed", "received", "started", "completed"]);
    assert.equal((await board.environment()).get("b.nerves_fw_uuid"), v3.uuid);
  });

  it("is completed once more when the hub sends it again before its reboot, also after a restart", async () => {
    board = await setUpBoard();
    const v2 = await board.firmware("2.0.0");
    const release = await board.hub.publish(v2.path, v2.meta);
    const config = { app: { reboot: "never" } };
    const agent = await board.start(config);
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
    board.hub.pushUpdate(IDENTIFIER, release);
    await board.hub.until(() => words().at(-1) === "completed");
    board.hub.pushUpdate(IDENTIFIER, release);
    await board.hub.until(() => words().length === 4);
    await agent.stop();
    const joins = board.hub.device(IDENTIFIER).joins.length;
    await board.start(config);
    await board.hub.until(() => board.hub.device(IDENTIFIER).joins.length > joins);
    board.hub.pushUpdate(IDENTIFIER, release);
    const again = (line: string): boolean => line.includes("the same update again: it is installed");
    await board.hub.until(() => board.logged.filter(again).length === 2);
    assert.deepEqual(words().slice(0, 3), ["received", "started", "completed"]);
    assert.deepEqual([...new Set(words().slice(3))], ["completed"]);
    assert.equal(board.hub.downloads.length, 1);
  });
});
