/**
 * Updates that must fail or be refused, on a whole agent: each leaves the running slot active and ends with a
 * reason.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, it } from "node:test";
import { connectToDaemon } from "../../src/control/client.ts";
import { generateSigningKey, makeFirmware } from "../fwup/archive.ts";
import { serve, status } from "../download/file-server.ts";
import { corruptByte, refuseDownload } from "../hub/faults.ts";
import type { Release } from "../hub/releases.ts";
import { scriptedFwup } from "../firmware/fwups.ts";
import { IDENTIFIER, setUpBoard, type TestBoard, type TestBoardOptions } from "./board.ts";
import { holdAfter } from "./held-download.ts";

/** Each ends with a status that has the reason, and the agent stays connected. */
describe("an update that must not be installed", () => {
  let board: TestBoard;
  let release: Release;
  afterEach(async () => board.remove());

  const setUp = async (options: TestBoardOptions = {}): Promise<void> => {
    board = await setUpBoard(options);
    const v2 = await board.firmware("2.0.0");
    release = await board.hub.publish(v2.path, v2.meta);
  };
  const start = async (overrides?: TestBoardOptions["config"]): Promise<void> => {
    await board.start(overrides);
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
  };
  const diskHash = async (): Promise<string> =>
    createHash("sha256")
      .update(await readFile(board.disk))
      .digest("hex");
  const isEnd = ({ event, payload }: { readonly event?: unknown; readonly payload?: unknown }): boolean => {
    const { status } = payload as { status?: string };
    return event === "status_update" && ["failed", "ignored", "rescheduled"].includes(status ?? "");
  };
  /** The last status of the update. */
  const ended = async (): Promise<{ status: string; reason: string }> => {
    const message = await board.hub.waitFor(IDENTIFIER, isEnd);
    const device = board.hub.device(IDENTIFIER);
    assert.ok(device.online);
    assert.deepEqual(device.crashes, []);
    return message.payload as { status: string; reason: string };
  };
  /** Offers 2.0.0 with the given changes. No byte of the disk may change. */
  const untouched = async (overrides: Readonly<Record<string, unknown>> = {}) => {
    const before = await diskHash();
    board.hub.pushUpdate(IDENTIFIER, release, overrides);
    const result = await ended();
    assert.equal(await diskHash(), before);
    return result;
  };

  it("asks 50: is refused before a byte is fetched when there is no key to verify it with", async () => {
    await setUp();
    await start({ firmware: { trust_hub_keys: false } });
    const { status, reason } = await untouched();
    assert.equal(status, "failed");
    assert.match(reason, /no usable public key/);
    assert.deepEqual(board.hub.downloads, []);
  });

  it("is refused before a byte is fetched when its host is not in firmware.url_hosts, redirects included", async () => {
    await setUp();
    const elsewhere = await serve([status(404)]);
    const redirect = await serve([status(302, { location: `${elsewhere.origin}/secret` })]);
    try {
      const { port } = new URL(redirect.origin);
      await start({ firmware: { url_hosts: ["*.example.com", `127.0.0.1:${port}`] } });
      const { status, reason } = await untouched();
      assert.equal(status, "failed");
      assert.match(
        reason,
        /^no file is fetched from localhost:\d+, which firmware\.url_hosts does not name$/,
      );
      assert.deepEqual(board.hub.downloads, []);
      const from = board.hub.device(IDENTIFIER).received.length;
      board.hub.pushUpdate(IDENTIFIER, release, { firmware_url: `${redirect.origin}/fw` });
      const { payload } = await board.hub.waitFor(IDENTIFIER, isEnd, from);
      assert.match(
        (payload as { reason: string }).reason,
        /^no file is fetched from 127\.0\.0\.1:\d+, which/,
      );
      assert.deepEqual([redirect.requests.length, elsewhere.requests.length], [1, 0]);
    } finally {
      await Promise.all([redirect.close(), elsewhere.close()]);
    }
  });

  it("is refused when the hub has no key either", async () => {
    await setUp({ hub: { publicKeys: [] } });
    await start();
    assert.match((await untouched()).reason, /no usable public key/);
  });

  it("is refused when another key than the pinned one signed it, even a key of the hub", async () => {
    await setUp();
    const { publicKeyBase64 } = generateSigningKey();
    await start({ firmware: { public_keys: [publicKeyBase64] } });
    assert.match((await untouched()).reason, /signature/);
  });

  it("asks 20: is not tried again at once after it failed, also by the next agent, and the hub gets the reason", async () => {
    await setUp();
    const { publicKeyBase64 } = generateSigningKey();
    const pinned = { firmware: { public_keys: [publicKeyBase64] } };
    await start(pinned);
    assert.match((await untouched()).reason, /signature/);
    for (const times of [1, 2]) {
      const from = board.hub.device(IDENTIFIER).received.length;
      board.hub.pushUpdate(IDENTIFIER, release);
      const answer = await board.hub.waitFor(
        IDENTIFIER,
        ({ payload }) => (payload as { status?: string }).status === "rescheduled",
        from,
      );
      const { delay_for: delay, reason } = answer.payload as { delay_for: number; reason: string };
      assert.ok(delay > 0 && delay <= 3_600_000);
      assert.match(reason, /the last try failed: .*signature/);
      if (times === 1) await board.restart(pinned);
      await board.hub.until(() => board.hub.device(IDENTIFIER).online);
    }
  });

  describe("is left alone by the uuid in the file, not by the announced one:", () => {
    /** Pushes the release under a uuid. @returns the answer */
    const announcedAs = async (uuid: string): Promise<Record<string, unknown>> => {
      const from = board.hub.device(IDENTIFIER).received.length;
      board.hub.pushUpdate(IDENTIFIER, release, { firmware_meta: { ...release.meta, uuid } });
      const isEnd = (status: unknown): boolean =>
        ["failed", "completed", "ignored", "rescheduled"].includes(String(status));
      const { payload } = await board.hub.waitFor(
        IDENTIFIER,
        (message) => isEnd((message.payload as { status?: unknown }).status),
        from,
      );
      return payload as Record<string, unknown>;
    };

    it("a bad file waits under each name, also with the next agent", async () => {
      await setUp();
      await start();
      assert.equal((await announcedAs("name-1"))["status"], "failed");
      for (const uuid of ["name-2", release.meta.uuid, "name-1"]) {
        const { status, reason, delay_for: delay } = await announcedAs(uuid);
        assert.equal(status, "rescheduled", uuid);
        assert.match(String(reason), /the last try failed: this is not the firmware that was announced/);
        assert.ok(Number(delay) > 3_000_000 && Number(delay) <= 3_600_000);
        await board.restart();
        await board.hub.until(() => board.hub.device(IDENTIFIER).online);
      }
    });

    it("good firmware does not wait because another file was announced in its name", async () => {
      await setUp();
      const [bad, v3] = [release, await board.firmware("3.0.0")];
      await start();
      assert.equal((await announcedAs(v3.meta.uuid))["status"], "failed");
      release = await board.hub.publish(v3.path, v3.meta);
      assert.equal((await announcedAs(v3.meta.uuid))["status"], "completed");
      const journal = JSON.parse(await readFile(join(board.dir, "state/journal.json"), "utf8")) as {
        attempts: { uuid: string; times: number }[];
      };
      assert.deepEqual(
        journal.attempts.map(({ uuid, times }) => [uuid, times]),
        [bad.meta.uuid, v3.meta.uuid].map((uuid) => [uuid, 1]),
      );
    });
  });

  it("is refused when it is not signed", async () => {
    await setUp();
    const unsigned = await makeFirmware({
      path: join(board.dir, "unsigned.fw"),
      product: "demo-board",
      platform: "rpi0",
      architecture: "arm",
      version: "2.0.0",
      rootfs: Buffer.alloc(100_000, "x"),
    });
    release = await board.hub.publish(unsigned.path, unsigned.meta);
    await start();
    assert.match((await untouched()).reason, /signed/i);
  });

  for (const key of ["uuid", "product", "platform", "architecture"] as const) {
    it(`is refused when its ${key} is not the announced one`, async () => {
      await setUp();
      await start();
      const { status, reason } = await untouched({ firmware_meta: { ...release.meta, [key]: "other" } });
      assert.equal(status, "failed");
      assert.match(reason, new RegExp(`not the firmware that was announced: ${key} is`));
    });
  }

  it("is refused when its first part is not the announced one", async () => {
    await setUp();
    board.hub.faults.add(corruptByte(1000));
    await start();
    assert.match((await untouched()).reason, /part/);
  });

  it("is refused when its size is not the announced one", async () => {
    await setUp();
    await start();
    const { reason } = await untouched({ size: 100, partials_checksums: null });
    assert.match(reason, /100/);
  });

  it("never becomes the active slot when only the whole file's checksum is wrong", async () => {
    await setUp();
    await start();
    board.hub.pushUpdate(IDENTIFIER, release, { checksum: "0".repeat(64), partials_checksums: null });
    assert.match((await ended()).reason, /SHA-256 is not the one/);
    const environment = await board.environment();
    assert.equal(environment.get("nerves_fw_active"), "a");
    assert.equal(environment.get("nerves_fw_validated"), "1");
    assert.equal(environment.get("b.nerves_fw_uuid"), undefined);
  });

  /** fwup reads only to the archive's directory; this archive has more after that than the withheld tail. */
  const setUpPadded = async (): Promise<void> => {
    await setUp();
    const padded = join(board.dir, "padded.fw");
    await writeFile(padded, Buffer.concat([await readFile(release.path), Buffer.alloc(300_000)]));
    release = await board.hub.publish(padded, release.meta);
  };
  const takenBack = async (): Promise<void> => {
    board.hub.pushUpdate(IDENTIFIER, release, { checksum: "0".repeat(64), partials_checksums: null });
    const { status, reason } = await ended();
    assert.equal(status, "failed");
    assert.match(reason, /SHA-256 is not the one/);
    const environment = await board.environment();
    assert.equal(environment.get("nerves_fw_active"), "a");
    assert.equal(environment.get("nerves_fw_validated"), "1");
    assert.equal(environment.get("b.nerves_fw_uuid"), undefined);
  };

  it("is undone when fwup finished it, and only the bytes after the archive were wrong", async () => {
    await setUpPadded();
    await start();
    await takenBack();
  });

  it("is undone when fwup had finished it, but was killed before its OK", async () => {
    await setUpPadded();
    const { fwup } = board.config().firmware;
    const dawdling = await scriptedFwup(
      board.dir,
      `${fwup} "$@" || exit; case "$*" in *"--task upgrade"*) exec <&-; exec sleep 3600 ;; esac`,
    );
    await start({ firmware: { fwup: dawdling } });
    await takenBack();
  });

  it("is undone when fwup had switched slots and failed at its last write, which is nobody else's doing", async () => {
    await setUp();
    const { fwup } = board.config().firmware;
    const error = String.raw`\000\000\000\013ER\000\001I/O err`;
    const failing = await scriptedFwup(
      board.dir,
      `${fwup} "$@" || exit; case "$*" in *"--task upgrade"*) printf '${error}'; exit 1 ;; esac`,
    );
    await start({ firmware: { fwup: failing } });
    board.hub.pushUpdate(IDENTIFIER, release);
    const { status, reason } = await ended();
    assert.match(`${status}: ${reason}`, /^failed: fwup error: .*I\/O err/);
    const environment = await board.environment();
    assert.equal(environment.get("nerves_fw_active"), "a");
    assert.equal(environment.get("b.nerves_fw_uuid"), undefined);
  });

  it("fails as soon as fwup breaks off, even while the server sends nothing", async () => {
    await setUp();
    const { fwup } = board.config().firmware;
    const breaking = await scriptedFwup(
      board.dir,
      `case "$*" in *"--task upgrade"*) head -c 1000 > /dev/null; exit 1 ;; esac`,
      `exec ${fwup} "$@"`,
    );
    const download = holdAfter(1024 * 1024 + 100_000);
    board.hub.faults.add(download, 1);
    await start({ firmware: { fwup: breaking } });
    board.hub.pushUpdate(IDENTIFIER, release);
    assert.match((await ended()).reason, /ended with exit status 1/);
    assert.equal(board.hub.downloads.length, 1, "it waited for the server");
    download.goOn();
  });

  it("fails when its URL has expired, and fresh ones do not work either", async () => {
    await setUp();
    board.hub.faults.add(refuseDownload(403));
    await start();
    const before = await diskHash();
    board.hub.deploy(release);
    assert.match((await ended()).reason, /403/);
    assert.equal(await diskHash(), before);
  });

  it("asks 25: is answered with a failure when its URL is missing or empty, or the message is malformed", async () => {
    await setUp();
    await start();
    for (const overrides of [{ firmware_url: undefined }, { firmware_url: "" }, { firmware_url: 7 }]) {
      const from = board.hub.device(IDENTIFIER).statuses.length;
      board.hub.pushUpdate(IDENTIFIER, release, overrides);
      await board.hub.until(() => board.hub.device(IDENTIFIER).statuses.length > from);
      const last = board.hub.device(IDENTIFIER).statuses.at(-1);
      assert.equal(last?.status, "failed");
      assert.match(JSON.stringify(last), /firmware_url/);
    }
    board.hub.send(IDENTIFIER, "device", "update", "nonsense");
    assert.match((await ended()).reason, /can't be used/);
  });

  it("is answered a few times when the hub sends thousands that are malformed, and a good one then works", async () => {
    await setUp();
    await start();
    for (let count = 0; count < 1500; count += 1) board.hub.send(IDENTIFIER, "device", "update", "nonsense");
    await board.saw(/the update can't be used/);
    board.hub.pushUpdate(IDENTIFIER, release);
    const { statuses } = board.hub.device(IDENTIFIER);
    await board.hub.until(() => statuses.some(({ status }) => status === "completed"));
    const failed = statuses.filter(({ status }) => status === "failed").length;
    assert.ok(failed > 0 && failed < 200, `${failed} answers`);
  });

  it("asks 19, 23, 37: is put off while the running firmware is not validated", async () => {
    await setUp();
    const fresh = await board.firmware("1.5.0");
    const first = await board.hub.publish(fresh.path, fresh.meta);
    await start();
    board.hub.pushUpdate(IDENTIFIER, first);
    await board.untilRebooted(1);
    await board.reboot({ validation: { mode: "manual" } });
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
    const { status, reason, ...rest } = await untouched();
    assert.equal(status, "rescheduled");
    assert.match(reason, /not validated/);
    assert.deepEqual(rest, { delay_for: 300_000 });
  });

  it("is ignored as a downgrade with update.allow_downgrade = false", async () => {
    await setUp({ config: { update: { allow_downgrade: false, retry: { delay_s: 0.01 } } } });
    const old = await board.firmware("0.9.0");
    release = await board.hub.publish(old.path, old.meta);
    await start();
    const { status, reason } = await untouched();
    assert.equal(status, "ignored");
    assert.match(reason, /0\.9\.0 is older than 1\.0\.0/);
  });

  describe("because of the board", () => {
    const refusedWith = async (firmware: Readonly<Record<string, unknown>>, words: RegExp): Promise<void> => {
      await start({ firmware });
      const { status, reason } = await untouched();
      assert.equal(status, "failed");
      assert.match(reason, words);
    };

    it("fails when the device is missing, and no file of that name is made", async () => {
      await setUp();
      const devpath = join(board.dir, "missing.img");
      await refusedWith({ devpath, ops_file: "" }, /missing\.img does not exist/);
      await assert.rejects(readFile(devpath), { code: "ENOENT" });
    });

    it("fails when the device is a folder", async () => {
      await setUp();
      const devpath = join(board.dir, "folder");
      await mkdir(devpath);
      await refusedWith({ devpath, ops_file: "" }, /folder is neither a block device nor a file/);
    });

    it("fails when there is no fwup", async () => {
      await setUp();
      await refusedWith({ fwup: "/nowhere/fwup" }, /\/nowhere\/fwup: not found/);
    });

    it("fails when the U-Boot environment is garbage", async () => {
      await setUp();
      const disk = await readFile(board.disk);
      disk.fill(0x5a, 8192, 16384);
      await writeFile(board.disk, disk);
      await refusedWith({}, /environment/);
    });
  });
});

describe("an update that comes after one was installed by hand", () => {
  it("is put off until the board is rebooted", async () => {
    const board = await setUpBoard();
    try {
      await board.start();
      await board.hub.until(() => board.hub.device(IDENTIFIER).online);
      const [v2, v3] = [await board.firmware("2.0.0"), await board.firmware("3.0.0")];
      const daemon = await connectToDaemon({ path: board.config().state.controlSocket });
      await daemon?.request("apply", { source: v2.path });
      daemon?.close();
      board.hub.pushUpdate(IDENTIFIER, await board.hub.publish(v3.path, v3.meta));
      const { payload } = await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "status_update");
      assert.deepEqual(payload, {
        status: "rescheduled",
        delay_for: 300_000,
        reason: "an installed update waits for its reboot",
      });
      assert.equal((await board.environment()).get("b.nerves_fw_uuid"), v2.uuid);
      assert.deepEqual(
        board.logged.filter((line) => line.includes("rebooting the board")),
        [],
      );
    } finally {
      await board.remove();
    }
  });
});
