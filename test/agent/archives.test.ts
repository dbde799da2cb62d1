/** Archives of the hub, on a whole agent: fetched, verified, kept, and handed to the board's own command. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { generateSigningKey, makeFirmware, type MadeFirmware } from "../fwup/archive.ts";
import { scriptedFwup } from "../firmware/fwups.ts";
import { resetAfter } from "../hub/faults.ts";
import { archivePayload, type Release } from "../hub/releases.ts";
import { eventually } from "../eventually.ts";
import { IDENTIFIER, setUpBoard, type TestBoard } from "./board.ts";
import { controlPeer } from "./control-peer.ts";
import { holdAfter } from "./held-download.ts";

describe("archives", () => {
  let board: TestBoard;
  let dir: string;
  let report: string;
  beforeEach(async () => {
    board = await setUpBoard();
    dir = join(board.dir, "archives");
    report = join(board.dir, "report");
  });
  afterEach(async () => board.remove());

  const start = async (config: Readonly<Record<string, unknown>> = {}, firmware = {}): Promise<void> => {
    const ready_command = `echo $HUBLINK_ARCHIVE_VERSION $HUBLINK_ARCHIVE_UUID $HUBLINK_ARCHIVE_PATH >> ${report}`;
    await board.start({
      archives: { enabled: true, dir, ready_command, ...config },
      extensions: { health: false },
      firmware,
    });
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
  };
  const make = async (version: string, overrides = {}): Promise<[MadeFirmware, Release]> => {
    const archive = await makeFirmware({
      path: join(board.dir, `archive-${version}.fw`),
      product: "demo-board",
      platform: "generic",
      architecture: "generic",
      version,
      rootfs: Buffer.alloc(300_000, version),
      privateKey: board.signingKey.privateKey,
      ...overrides,
    });
    return [archive, await board.hub.publish(archive.path, archive.meta)];
  };
  const send = (release: Release, overrides: Readonly<Record<string, unknown>> = {}): void => {
    const payload = archivePayload(release, board.hub.urlOf(release), Date.now());
    board.hub.send(IDENTIFIER, "device", "archive", { ...payload, ...overrides });
  };
  const ready = async ({ uuid }: MadeFirmware): Promise<void> =>
    board.saw(new RegExp(`archives: ready \\(uuid=${uuid}`));
  /** The size so far of an archive that is being fetched. */
  const partBytes = ({ uuid }: MadeFirmware): number => {
    const path = join(dir, `${uuid}.fw.part`);
    return existsSync(path) ? statSync(path).size : 0;
  };
  const ranges = ({ uuid }: MadeFirmware): string[] =>
    board.hub.downloads.filter(({ path }) => path.includes(uuid)).map(({ range }) => range ?? "all");
  const status = async (): Promise<Record<string, unknown>> => {
    const peer = await controlPeer(board.config().state.controlSocket, {});
    await peer.next();
    const { result } = await peer.request("status");
    await peer.close();
    return (result as { archive: Record<string, unknown> }).archive;
  };
  const files = (): string[] => (existsSync(dir) ? readdirSync(dir).sort() : []);

  it("are fetched and verified once, kept by uuid, and given to the command once", async () => {
    const [made, release] = await make("1.0.0");
    await start();
    send(release);
    await board.saw(/complete and verified/);
    send(release); // as at every join
    await ready(made);
    assert.deepEqual(files(), [`${made.uuid}.fw`, `${made.uuid}.ready`]);
    const path = join(dir, `${made.uuid}.fw`);
    assert.deepEqual(readFileSync(path), readFileSync(made.path));
    await board.restart({ archives: { enabled: true, dir } });
    await board.hub.until(() => board.hub.device(IDENTIFIER).joins.length === 2);
    send(release);
    const [second, newer] = await make("2.0.0");
    send(newer);
    await ready(second);
    assert.deepEqual(files(), [`${second.uuid}.fw`, `${second.uuid}.ready`]);
    assert.equal(readFileSync(report, "utf8"), `1.0.0 ${made.uuid} ${path}\n`);
    assert.equal(board.hub.downloads.filter(({ path: url }) => url.includes(made.uuid)).length, 1);
  });

  it("an interrupted download goes on at its last byte", async () => {
    const [made, release] = await make("1.0.0", { rootfs: { sizeBytes: 300_000, seed: "x" } });
    board.hub.faults.add(resetAfter(100_000));
    await start();
    send(release);
    await ready(made);
    assert.deepEqual(readFileSync(join(dir, `${made.uuid}.fw`)), readFileSync(made.path));
  });

  it("asks 11: the next agent goes on with a download that the agent's end interrupted", async () => {
    const [made, release] = await make("1.0.0", { rootfs: { sizeBytes: 300_000, seed: "x" } });
    const held = holdAfter(200_000);
    board.hub.faults.add(held, 1);
    await start();
    send(release);
    await held.held;
    await eventually(() => partBytes(made) === 200_000, "the first bytes are on the disk");
    await board.restart({ archives: { enabled: true, dir }, extensions: { health: false } });
    await board.hub.until(() => board.hub.device(IDENTIFIER).joins.length === 2);
    send(release);
    await ready(made);
    assert.deepEqual(ranges(made), ["all", `bytes=200000-${made.sizeBytes - 1}`]);
    assert.deepEqual(readFileSync(join(dir, `${made.uuid}.fw`)), readFileSync(made.path));
    assert.deepEqual(files(), [`${made.uuid}.fw`, `${made.uuid}.ready`]);
  });

  it("wait while an update uses the line and the disk", async () => {
    const [made, release] = await make("1.0.0", { rootfs: { sizeBytes: 300_000, seed: "x" } });
    const archive = holdAfter(100_000);
    board.hub.faults.add(archive, 1);
    await start();
    send(release);
    await archive.held;
    await eventually(() => partBytes(made) === 100_000, "the first bytes are on the disk");
    const update = holdAfter(100_000);
    board.hub.faults.add(update, 1);
    const v2 = await board.firmware("2.0.0");
    board.hub.deploy(await board.hub.publish(v2.path, v2.meta));
    await update.held;
    archive.goOn();
    const [second, newer] = await make("2.0.0");
    send(newer);
    await board.hub.runScript(IDENTIFIER, ""); // its answer shows that all before it was read
    assert.equal(partBytes(made), 100_000);
    assert.deepEqual(ranges(second), []);
    update.goOn();
    await board.untilRebooted(1);
    await ready(made);
    await ready(second);
  });

  it("a full disk is reported, also in the status, and the next archive is fetched", async () => {
    const [made, release] = await make("1.0.0");
    await start();
    assert.equal(await status(), null);
    send(release, { size: 2 ** 50 });
    await board.saw(/archive [0-9a-f-]+: \S+archives has \d+ MiB free, 1073741828 are needed/);
    const { reason, ...rest } = await status();
    assert.deepEqual(rest, { uuid: made.uuid, version: "1.0.0", state: "failed" });
    assert.match(String(reason), /MiB free/);
    const [second, newer] = await make("2.0.0");
    send(newer);
    await ready(second);
    assert.deepEqual(await status(), { uuid: second.uuid, version: "2.0.0", state: "ready", reason: null });
  });

  it("from a host that firmware.url_hosts does not name nothing is fetched", async () => {
    const [, release] = await make("1.0.0");
    await start({}, { url_hosts: ["example.com"] });
    send(release);
    await board.saw(/archive [0-9a-f-]+: no file is fetched from localhost:\d+, which firmware\.url_hosts/);
    assert.deepEqual(board.hub.downloads, []);
  });

  it("a failure shows no signed URL in the status", async () => {
    const [, release] = await make("1.0.0");
    const fwup = await scriptedFwup(
      board.dir,
      "echo 'https://files.test/a.fw?sig=secret is wrong' >&2; exit 1",
    );
    await start({}, { fwup });
    send(release);
    await board.saw(/archive [0-9a-f-]+: .*files\.test/);
    const { reason } = await status();
    assert.match(String(reason), /https:\/\/files\.test\/a\.fw\?…/);
  });

  it("without a key nothing is fetched", async () => {
    const [, release] = await make("1.0.0");
    await start({}, { trust_hub_keys: false });
    send(release);
    await board.saw(/no key to verify it with/);
    assert.deepEqual(board.hub.downloads, []);
  });

  it("an archive that another key signed is removed", async () => {
    const [, release] = await make("1.0.0", { privateKey: generateSigningKey().privateKey });
    await start();
    send(release);
    await board.saw(/archive .*signature/i);
    assert.deepEqual(files(), []);
    assert.ok(!existsSync(report));
  });

  it("an archive other than the announced one is removed", async () => {
    const [, release] = await make("1.0.0");
    await start();
    send(release, { uuid: "01234567-89ab-cdef-0123-456789abcdef" });
    await board.saw(/the file is the archive/);
    assert.deepEqual(files(), []);
  });

  it("a uuid that leads out of the folder is refused", async () => {
    const [, release] = await make("1.0.0");
    await start();
    send(release, { uuid: "../../etc/passwd" });
    await board.saw(/ignored a message of the hub: archive: uuid/);
    assert.deepEqual(board.hub.downloads, []);
  });

  it("a command that failed is run again at the next join, without another download", async () => {
    const [made, release] = await make("1.0.0");
    const gate = join(board.dir, "gate");
    await start({ ready_command: `echo x >> ${report}; test -e ${gate}` });
    send(release);
    await board.saw(/archives.ready_command ended with 1/);
    await writeFile(gate, "");
    send(release);
    await ready(made);
    assert.equal(readFileSync(report, "utf8"), "x\nx\n");
    assert.equal(board.hub.downloads.length, 1);
  });

  it("other files in the folder stay", async () => {
    await mkdir(dir);
    await writeFile(join(dir, "README"), "mine");
    await writeFile(join(dir, "01234567-89ab-cdef-0123-456789abcdef.fw.part"), "left over by a power cut");
    const [made, release] = await make("1.0.0");
    await start();
    send(release);
    await ready(made);
    assert.deepEqual(files(), [`${made.uuid}.fw`, `${made.uuid}.ready`, "README"].sort());
  });

  it("are not fetched unless they are enabled", async () => {
    const [, release] = await make("1.0.0");
    await start({ enabled: false });
    send(release);
    await board.saw(/archive is not enabled/);
    assert.deepEqual(board.hub.downloads, []);
  });
});
