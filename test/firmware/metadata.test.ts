/**
 * A firmware's metadata before it is installed: read with fwup from a file or from the start of a download.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import fc from "fast-check";
import { verifyArchive } from "../../src/firmware/fwup.ts";
import {
  compareWithAnnounced,
  METADATA_HEAD_BYTES,
  parseMetadata,
  peekMetadata,
  readMetadata,
  readMetadataFromHead,
} from "../../src/firmware/metadata.ts";
import { systemClock as clock } from "../../src/platform/clock.ts";
import { Failure } from "../../src/platform/failure.ts";
import { fixture, fixturesMissing } from "../fixtures.ts";
import { someBytes } from "../download/announce.ts";
import { generateSigningKey } from "../fwup/archive.ts";
import { fwup, noArchiveMaker } from "./fwups.ts";
import { watchForLeftovers } from "../download/left-behind.ts";

const UUID = "37374880-a7dd-51db-f4b8-5b1062b551b7";

const V1 = {
  uuid: UUID,
  product: "demo-board",
  version: "1.0.0",
  platform: "rpi0",
  architecture: "arm",
  author: "hublink",
  description: "A/B test firmware",
  vcsIdentifier: "none",
  creationDate: "2026-01-01T00:00:00Z",
};

describe("the output of fwup -m", () => {
  it("is read with quotes where needed, as fwup prints it since 1.14", () => {
    const text = `meta-product="demo board"\nmeta-version=1.0.0\nmeta-vcs-identifier=none\nmeta-uuid="${UUID}"\nmeta-nickname="cup-cup"\n`;
    assert.deepEqual(parseMetadata(text), {
      uuid: UUID,
      product: "demo board",
      version: "1.0.0",
      vcsIdentifier: "none",
    });
  });

  it("is refused when a name in it is longer than a hub may announce", () => {
    assert.throws(
      () => parseMetadata(`meta-uuid=u\nmeta-version=${"1".repeat(257)}\n`),
      /a meta-version of more than 256 characters/,
    );
  });

  it("is read with quotes everywhere, as older versions print it", () => {
    const text = `meta-product="demo"\nmeta-version="1.0.0"\nmeta-author=""\nmeta-misc="say "hi""\nmeta-uuid="${UUID}"\n`;
    assert.deepEqual(parseMetadata(text), {
      uuid: UUID,
      product: "demo",
      version: "1.0.0",
      author: "",
      misc: 'say "hi"',
    });
  });

  it("may hold quotes, backslashes and line ends, none of which adds another value", () => {
    const text = `meta-description="a \\"b\\" \\\\ c\nmeta-uuid=forged"\nmeta-uuid="${UUID}"\n`;
    assert.deepEqual(parseMetadata(text), { uuid: UUID, description: 'a "b" \\ c\nmeta-uuid=forged' });
  });

  it("must have the uuid", () => {
    assert.throws(
      () => parseMetadata("meta-product=demo\n"),
      new Failure("metadata_invalid", "the firmware's metadata has no meta-uuid"),
    );
    assert.throws(() => parseMetadata('meta-uuid=""\n'), /has no meta-uuid/);
    assert.throws(() => parseMetadata(`meta-uuid="${"u".repeat(65)}"\n`), /a meta-uuid of more than 64/);
  });

  it("of any text is parsed or refused with a Failure", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom("meta-uuid=", "meta-", "a", "=", '"', "\\", "\n") }),
        (text) => {
          try {
            parseMetadata(text);
          } catch (error) {
            assert.ok(error instanceof Failure);
          }
        },
      ),
      { numRuns: 5000 },
    );
  });
});

describe("the metadata of a firmware", { skip: fixturesMissing }, () => {
  let folder: string;
  let nothingIsLeft: () => Promise<void>;
  const key = (name: string): string => readFileSync(fixture(`fwup/${name}.pub`), "utf8");

  beforeEach(async () => {
    nothingIsLeft = watchForLeftovers();
    folder = await mkdtemp(join(tmpdir(), "metadata-"));
  });

  afterEach(async () => {
    await nothingIsLeft();
    await rm(folder, { recursive: true });
  });

  it("is read from a file", async () => {
    assert.deepEqual(await readMetadata({ fwup, clock, file: fixture("fwup/v1.fw") }), V1);
  });

  it("is verified when keys are given", async () => {
    const file = fixture("fwup/v1.fw");
    await readMetadata({ fwup, clock, file, publicKeys: [key("other"), key("good")] });
    await assert.rejects(
      readMetadata({ fwup, clock, file, publicKeys: [key("other")] }),
      /fails digital signature/,
    );
    await assert.rejects(readMetadata({ fwup, clock, file, publicKeys: [] }), /no usable public key/);
    const unsigned = fixture("fwup/unsigned.fw");
    await assert.rejects(
      readMetadata({ fwup, clock, file: unsigned, publicKeys: [key("good")] }),
      /Expecting signed/,
    );
  });

  it("is not found in a missing file or in garbage", async () => {
    await assert.rejects(
      readMetadata({ fwup, clock, file: join(folder, "none.fw") }),
      /none\.fw does not exist/,
    );
    await assert.rejects(
      readMetadata({ fwup, clock, file: fixture("fwup/garbage.fw") }),
      /Unrecognized archive format/,
    );
  });

  it(
    "is in the first 64 KiB, even when it is as long as fwup allows and hardly compresses",
    { skip: noArchiveMaker },
    async () => {
      const head = (await longestArchive(folder)).subarray(0, METADATA_HEAD_BYTES);
      const { metadata } = await readMetadataFromHead({ fwup, clock, head, publicKeys: [key("good")] });
      assert.ok((metadata.misc?.length ?? 0) > 49_000);
    },
  );

  it("is accepted by any of more keys than fwup takes, and the archive with it", async () => {
    const others = Array.from({ length: 12 }, () => generateSigningKey().publicKeyBase64);
    const [file, archive] = [fixture("fwup/v1.fw"), await readFile(fixture("fwup/v1.fw"))];
    const source = async function* (): AsyncGenerator<Uint8Array> {
      yield await Promise.resolve(archive);
    };
    for (const keys of [
      [...others, key("good")],
      [key("good"), ...others],
    ]) {
      const { metadata, publicKeys, stream } = await peekMetadata(
        { fwup, clock, publicKeys: keys },
        source(),
      );
      await stream.return();
      assert.deepEqual(metadata, V1);
      assert.ok(publicKeys.includes(key("good").trim()) && publicKeys.length <= 10);
      assert.deepEqual(await readMetadata({ fwup, clock, file, publicKeys: keys }), V1);
      await verifyArchive({ fwup, clock, file, publicKeys: keys });
    }
    await assert.rejects(readMetadata({ fwup, clock, file, publicKeys: others }), /fails digital signature/);
  });

  it("can't be read without fwup, which is not held against a short file", async () => {
    const head = Buffer.from("short");
    await assert.rejects(readMetadataFromHead({ fwup: "/missing/fwup", clock, head }), (error: unknown) => {
      assert.ok(error instanceof Failure);
      assert.equal(error.code, "fwup_missing");
      assert.match(error.message, /^\/missing\/fwup: not found; .* \(see firmware\.fwup\)$/);
      return true;
    });
  });

  it("can't be read from too few bytes, and the failure says so", async () => {
    const head = (await readFile(fixture("fwup/v1.fw"))).subarray(0, 800);
    await assert.rejects(
      readMetadataFromHead({ fwup, clock, head }),
      /in the first 800 bytes; up to 65536 are needed/,
    );
  });

  it("is read from a stream, which then still gives all its bytes", async () => {
    const archive = await readFile(fixture("fwup/v1.fw"));
    // Each chunk reuses the memory of the one before, as in verify.ts.
    const reused = Buffer.alloc(50_000);
    const source = async function* (): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < archive.length; at += reused.length) {
        yield reused.subarray(0, await Promise.resolve(archive.copy(reused, 0, at)));
      }
    };
    const { metadata, stream } = await peekMetadata({ fwup, clock }, source());
    assert.deepEqual(metadata, V1);
    const read: Buffer[] = [];
    for await (const chunk of stream) read.push(Buffer.from(chunk));
    assert.ok(Buffer.concat(read).equals(archive));
  });

  it("ends the stream when the metadata is refused or the reader stops", async () => {
    let ended = 0;
    const source = async function* (bytes: Buffer): AsyncGenerator<Uint8Array> {
      try {
        for (;;) yield await Promise.resolve(bytes);
      } finally {
        ended += 1;
      }
    };
    const archive = await readFile(fixture("fwup/v1.fw"));
    const refused = peekMetadata({ fwup, clock, publicKeys: [key("other")] }, source(archive));
    await assert.rejects(refused, /fails digital signature/);
    assert.equal(ended, 1);
    const { stream } = await peekMetadata({ fwup, clock }, source(archive));
    await stream.return();
    assert.equal(ended, 2);
    assert.deepEqual(await stream.next(), { done: true, value: undefined });
  });
});

/** An archive whose meta.conf is nearly the 50 000 bytes that fwup allows, made by fwup itself. */
async function longestArchive(folder: string): Promise<Buffer> {
  const letters = someBytes(160_000).filter((byte) => byte >= 0x25 && byte < 0x7f && byte !== 0x5c);
  const misc = Buffer.from(letters.subarray(0, 49_500)).toString("latin1");
  const conf = join(folder, "fwup.conf");
  const archive = join(folder, "long.fw");
  await writeFile(join(folder, "data"), someBytes(200_000));
  await writeFile(
    conf,
    `meta-misc="${misc}"\nfile-resource d { host-path="${join(folder, "data")}" }\ntask complete { on-resource d { raw_write(0) } }\n`,
  );
  execFileSync(fwup, ["-c", "-f", conf, "-s", fixture("fwup/good.priv"), "-o", archive]);
  return readFile(archive);
}

describe("firmware that differs from its announcement", () => {
  const metadata = { uuid: UUID, product: "demo", platform: "rpi0" };

  it("has another value, or lacks an announced one", () => {
    const announced = { uuid: "other", product: "demo", platform: "rpi4", architecture: "arm" };
    assert.deepEqual(compareWithAnnounced(metadata, announced), [
      `uuid is "${UUID}", announced was "other"`,
      'platform is "rpi0", announced was "rpi4"',
      'architecture is "", announced was "arm"',
    ]);
  });

  it("may have values that were not announced", () => {
    assert.deepEqual(compareWithAnnounced(metadata, { uuid: UUID, product: "", platform: null }), []);
  });
});
