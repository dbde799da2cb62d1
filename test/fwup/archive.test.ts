/** The archives and disks that archive.ts makes: fwup must accept them, and make the same. */
import { strict as assert } from "node:assert";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fixture, fixturesMissing } from "../fixtures.ts";
import { generateSigningKey, makeBoard, makeFirmware, makeOps, type FirmwareOptions } from "./archive.ts";
import { readDisk } from "./disk-content.ts";
import { fwups } from "./fwups.ts";
import { fileInput } from "./input.ts";
import { layoutWithSlots } from "./layout.ts";
import { parseFrames, runFwup } from "./run.ts";
import { ZipStream } from "./zip-stream.ts";

const SIGNING_KEY = generateSigningKey();
const MIB = 1024 * 1024;

let folder: string;
const at = (name: string): string => join(folder, name);
const firmware = (version: string, more: Partial<FirmwareOptions> = {}): FirmwareOptions => ({
  path: at(`${version}.fw`),
  product: "demo-board",
  version,
  platform: "rpi0",
  architecture: "arm",
  rootfs: { sizeBytes: 3 * MIB + 77, seed: version },
  privateKey: SIGNING_KEY.privateKey,
  ...more,
});

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "hublink-archive-"));
});
after(async () => rm(folder, { recursive: true }));

describe("a made firmware", () => {
  it("has the size, hashes and metadata that a hub would announce", async () => {
    const made = await makeFirmware(firmware("1.0.0"));
    const bytes = await readFile(made.path);
    const upperSha256 = (part: Buffer): string =>
      createHash("sha256").update(part).digest("hex").toUpperCase();
    assert.equal(made.sizeBytes, bytes.length);
    assert.equal(made.sha256, upperSha256(bytes));
    assert.deepEqual(
      made.partials,
      [0, 1, 2, 3].map((part) => upperSha256(bytes.subarray(part * MIB, (part + 1) * MIB))),
    );
    assert.equal(made.meta.uuid, made.uuid);
    assert.equal(made.meta.version, "1.0.0");
  });

  it("is the same for the same seed, and cannot be compressed", async () => {
    const one = await makeFirmware(firmware("1.0.0", { path: at("one.fw") }));
    const same = await makeFirmware(firmware("1.0.0", { path: at("same.fw") }));
    const other = await makeFirmware(
      firmware("1.0.0", { rootfs: { sizeBytes: 3 * MIB + 77, seed: "other" } }),
    );
    assert.equal(one.uuid, same.uuid);
    assert.notEqual(one.uuid, other.uuid);
    assert.ok(one.sizeBytes > 3 * MIB);
  });

  it("has a UUID that neither the key nor the compression changes", async () => {
    const one = await makeFirmware(firmware("1.0.0"));
    const { privateKey } = generateSigningKey();
    const other = await makeFirmware(firmware("1.0.0", { privateKey, compression: "stored" }));
    assert.equal(one.uuid, other.uuid);
    assert.notEqual(one.sha256, other.sha256);
  });

  it("may not be larger than its slot", async () => {
    const tooLarge = firmware("1.0.0", { rootfs: { sizeBytes: 513, seed: "" }, layout: layoutWithSlots(1) });
    await assert.rejects(makeFirmware(tooLarge), /does not fit the slot/);
  });

  it("equals the archive that fwup makes of the same content", { skip: fixturesMissing }, async () => {
    const archive = await ZipStream.open(fileInput(fixture("fwup/v1.fw")));
    let rootfs: Buffer | undefined;
    for (let entry = await archive.next(); entry !== undefined; entry = await archive.next())
      if (entry.name === "data/rootfs.img") rootfs = await entry.readAll(MIB);
    assert.ok(rootfs);
    assert.equal(
      (await makeFirmware(firmware("1.0.0", { rootfs }))).uuid,
      "37374880-a7dd-51db-f4b8-5b1062b551b7",
    );
    assert.equal((await makeOps({ path: at("ops.fw") })).uuid, "32ccf1f0-3b87-513b-7506-fbcf461c9d36");
  });
});

it("a board has its firmware in slot A, on a sparse disk", async () => {
  const { path, uuid } = await makeFirmware(firmware("1.0.0"));
  const { disk, fwEnvConfig } = await makeBoard({ dir: folder, firmware: path });
  assert.equal(await readFile(fwEnvConfig, "utf8"), `${disk} 0x2000 0x2000\n`);
  const { blocks, size } = await stat(disk);
  assert.ok(blocks * 512 < size);
  const { environment, partition1Block } = await readDisk(disk, 0);
  assert.equal(partition1Block, 2048);
  assert.equal(environment["a.nerves_fw_uuid"], uuid);
  assert.equal(environment["nerves_fw_validated"], "1");
  assert.equal(environment["nerves_serial_number"], "SN001");
});

it("a board can have large slots", async () => {
  const layout = layoutWithSlots(20_000);
  const { path } = await makeFirmware(
    firmware("1.0.0", { rootfs: { sizeBytes: 20_000 * 512, seed: "" }, layout }),
  );
  const { disk } = await makeBoard({ dir: folder, firmware: path, layout });
  assert.equal((await stat(disk)).size, (2048 + 2 * 20_000 + 8192) * 512);
});

for (const { name, path, skip } of fwups)
  describe(`made archives in ${name}`, { skip }, () => {
    const run = async (...args: string[]): Promise<string[]> => {
      const { exitCode, stdout } = await runFwup(path, [
        "-F",
        "--public-key",
        SIGNING_KEY.publicKeyBase64,
        ...args,
      ]);
      const frames = parseFrames(stdout).filter(({ type }) => type !== "PR");
      return [String(exitCode), ...frames.map(({ type, text }) => `${type} ${text}`)];
    };
    const apply = async (archive: string, task: string): Promise<string[]> =>
      run("-a", "-U", "-d", at("cycle.img"), "-i", archive, "-t", task);

    it("can be verified, and have their metadata", async () => {
      for (const compression of ["stored", "deflated"] as const) {
        const made = await makeFirmware(firmware("1.0.0", { compression }));
        assert.deepEqual(await run("-V", "-i", made.path), ["0", "OK Valid archive with a good signature\n"]);
        const [, text = ""] = await run("-m", "-i", made.path);
        assert.match(text, new RegExp(`^meta-uuid="${made.uuid}"$`, "m"));
        assert.match(text, /^meta-creation-date="2026-01-01T00:00:00Z"$/m);
      }
    });

    it("can install, upgrade, validate, revert and invalidate", async () => {
      const { privateKey } = SIGNING_KEY;
      await rm(at("cycle.img"), { force: true });
      const one = await makeFirmware(firmware("1.0.0"));
      const two = await makeFirmware(firmware("2.0.0", { compression: "stored" }));
      const wrong = await makeFirmware(firmware("3.0.0", { platform: "rpi4" }));
      const ops = (await makeOps({ path: at("ops.fw"), privateKey })).path;
      assert.deepEqual(await apply(one.path, "complete"), ["0", "OK "]);
      assert.deepEqual(await apply(wrong.path, "upgrade"), [
        "1",
        "ER Expecting platform=rpi4 and architecture=arm",
      ]);
      assert.deepEqual(await apply(ops, "revert"), ["1", "ER No valid firmware to revert to"]);
      assert.deepEqual(await apply(two.path, "upgrade"), ["0", "WN Upgrading partition B", "OK "]);
      assert.deepEqual(await apply(ops, "status"), ["0", "WN b", "OK "]);
      assert.match((await apply(one.path, "upgrade")).join(), /Running firmware is not validated/);
      assert.deepEqual(await apply(ops, "validate"), ["0", "WN validated", "OK "]);
      assert.deepEqual(await apply(ops, "validate"), ["0", "WN already validated", "OK "]);
      assert.deepEqual(await apply(ops, "revert"), ["0", "WN Reverting to A", "OK "]);
      assert.deepEqual(await apply(ops, "invalidate"), ["0", "WN Invalidated B", "OK "]);
      assert.deepEqual(await apply(ops, "revert"), ["1", "ER No valid firmware to revert to"]);
    });

    it("revert only to firmware for their platform", async () => {
      const { privateKey } = SIGNING_KEY;
      await rm(at("cycle.img"), { force: true });
      const target = { platform: "x86_64", architecture: "x86_64" };
      const ops = (await makeOps({ path: at("ops.fw"), privateKey, target })).path;
      for (const [version, task] of [
        ["1.0.0", "complete"],
        ["2.0.0", "upgrade"],
      ] as const)
        assert.equal((await apply((await makeFirmware(firmware(version, target))).path, task))[0], "0");
      assert.deepEqual(await apply(ops, "revert"), ["0", "WN Reverting to A", "OK "]);
    });
  });
