/**
 * The stand-in's behaviour in cases that the recording lacks. The same tests run with the real fwup, if there
 * is one.
 */
import { strict as assert } from "node:assert";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Writable } from "node:stream";
import { after, before, describe, it } from "node:test";
import { PATIENCE_MS } from "../eventually.ts";
import { generateSigningKey, makeBoard, makeFirmware, writeArchive, type SigningKey } from "./archive.ts";
import { readDisk } from "./disk-content.ts";
import { fwups } from "./fwups.ts";
import {
  END_FRAME,
  parseFrames,
  realFwup,
  runFwup,
  STAND_IN,
  toFrames,
  type Frame,
  type FwupRun,
} from "./run.ts";

const ROOTFS_BYTES = 1024 * 1024;
/** Without a limit, both ends would wait for each other. */
const HANGS_WHEN_BROKEN = { timeout: PATIENCE_MS };
const FIRMWARE = { product: "demo-board", platform: "rpi0", architecture: "arm" };

let folder: string;
let key: SigningKey;
let archive: Buffer;
const at = (name: string): string => join(folder, name);

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "hublink-fwup-"));
  key = generateSigningKey();
  for (const version of ["1.0.0", "2.0.0"])
    await makeFirmware({
      ...FIRMWARE,
      path: at(`${version}.fw`),
      version,
      rootfs: { sizeBytes: ROOTFS_BYTES, seed: version },
      privateKey: key.privateKey,
    });
  archive = await readFile(at("2.0.0.fw"));
  await makeBoard({ dir: folder, firmware: at("1.0.0.fw") });
});
after(async () => rm(folder, { recursive: true }));

/** The parts of a run that are compared: exit code, stderr, and frames without the steps of progress. */
function outcome(run: FwupRun): unknown[] {
  const frames = parseFrames(run.stdout).filter(({ type }) => type !== "PR");
  return [run.exitCode, run.stderr, ...frames.map(({ type, text }) => `${type} ${text}`)];
}

const UPGRADED = [0, "", "WN Upgrading partition B", "OK "];

for (const { name, path, skip } of fwups)
  describe(name, { skip }, () => {
    const upgrade = async (feed: (stdin: Writable) => void, ...args: string[]): Promise<FwupRun> => {
      await copyFile(at("disk.img"), at("copy.img"));
      return runFwup(path, ["-a", "-F", "-U", "-d", at("copy.img"), "-t", "upgrade", ...args], { feed });
    };
    const run = async (...args: string[]): Promise<FwupRun> => runFwup(path, args, { cwd: folder });
    const said = ({ exitCode, stdout, stderr }: FwupRun): unknown[] => [exitCode, stdout.toString(), stderr];

    describe("framed input", () => {
      const cut = (frameBytes: number): Buffer => toFrames(archive, frameBytes);
      const variants: [string, (stdin: Writable) => void][] = [
        ["in frames of 7 bytes", (stdin) => stdin.end(cut(7))],
        ["in one big frame", (stdin) => stdin.end(cut(archive.length))],
        ["ended by an empty frame", (stdin) => stdin.end(Buffer.concat([cut(64 * 1024), END_FRAME]))],
        ["ended by closing", (stdin) => stdin.end(cut(64 * 1024))],
        ["that stays open after the archive", (stdin) => stdin.write(cut(64 * 1024))],
        [
          "with many more bytes after the archive",
          (stdin) => stdin.write(Buffer.concat([cut(1000), Buffer.alloc(4 << 20, 1)])),
        ],
      ];
      for (const [title, feed] of variants)
        it(`${title} is applied`, async () => {
          assert.deepEqual(outcome(await upgrade(feed)), UPGRADED);
          assert.equal((await readDisk(at("copy.img"), ROOTFS_BYTES)).partition1Block, 10240);
        });

      const half = (): Buffer => toFrames(archive.subarray(0, archive.length / 2), 64 * 1024);

      it("that ends in the middle of the archive is an error", async () => {
        const ended = await upgrade((stdin) => stdin.end(Buffer.concat([half(), END_FRAME])));
        assert.deepEqual(outcome(ended), [
          1,
          "\n",
          "WN Upgrading partition B",
          "ER ZIP decompression failed (-5)",
        ]);
        const closed = await upgrade((stdin) => stdin.end(half()));
        assert.deepEqual(outcome(closed), [
          1,
          "\n",
          "WN Upgrading partition B",
          "ER Truncated ZIP file body",
        ]);
        const { environment, partition1Block } = await readDisk(at("copy.img"), 0);
        assert.deepEqual([partition1Block, environment["last_update_error"]], [2048, "b"]);
      });

      it("that breaks off and stays open is waited for", HANGS_WHEN_BROKEN, async (t) => {
        await copyFile(at("disk.img"), at("copy.img"));
        const child = spawn(path, ["-a", "-F", "-U", "-d", at("copy.img"), "-t", "upgrade"]);
        t.after(() => child.kill());
        let output: Buffer = Buffer.alloc(0);
        const frames = (): Frame[] => parseFrames(output);
        const halfWritten = new Promise<void>((resolve) => {
          child.stdout.on("data", (chunk: Buffer) => {
            output = Buffer.concat([output, chunk]);
            if (frames().some(({ type, code }) => type === "PR" && code > 40)) resolve();
          });
        });
        child.stdin.write(half());
        await halfWritten;
        assert.equal(child.exitCode, null);
        child.stdin.end(); // its last message shows that it was still reading until here
        await once(child, "close");
        assert.equal(frames().at(-1)?.text, "Truncated ZIP file body");
      });
    });

    it("reports 0 % before it has read anything", HANGS_WHEN_BROKEN, async (t) => {
      const child = spawn(path, ["-a", "-F", "-U", "-d", at("copy.img"), "-t", "upgrade"]);
      t.after(() => child.kill());
      const [first] = (await once(child.stdout, "data")) as [Buffer];
      assert.deepEqual(parseFrames(first), [{ type: "PR", code: 0, text: "" }]);
      child.stdin.end();
      await once(child, "close");
    });

    describe("keys", () => {
      const input = (stdin: Writable): void => void stdin.end(toFrames(archive, 64 * 1024));
      it("one of several suffices, in each way to write them", async () => {
        await writeFile(at("raw.pub"), Buffer.from(key.publicKeyBase64, "base64"));
        await writeFile(at("text.pub"), `${key.publicKeyBase64}\n`);
        const other = generateSigningKey().publicKeyBase64;
        for (const args of [
          ["--public-key", other, "--public-key", key.publicKeyBase64],
          ["--public-key", key.publicKeyBase64.replace("=", "")],
          ["-p", at("raw.pub")],
          ["--public-key-file", at("text.pub")],
        ])
          assert.deepEqual(outcome(await upgrade(input, ...args)), UPGRADED);
      });

      it("a wrong key is refused before anything is written", async () => {
        const refused = await upgrade(input, "--public-key", generateSigningKey().publicKeyBase64);
        const reason = "Firmware archive's meta.conf fails digital signature verification.";
        assert.deepEqual(outcome(refused), [1, "\n", `ER ${reason}`]);
        assert.deepEqual(await readFile(at("copy.img")), await readFile(at("disk.img")));
      });

      it("a malformed key is an error", async () => {
        assert.deepEqual(said(await run("-m", "--public-key", "abc")), [
          1,
          "fwup: Error decoding public key\n",
          "",
        ]);
      });

      it("a new pair belongs together, and is never overwritten", async () => {
        const prefix = at(`new-${name.replaceAll(" ", "-")}`);
        assert.equal((await run("-g", "-o", prefix)).exitCode, 0);
        const publicKey = await readFile(`${prefix}.pub`, "utf8");
        const both = Buffer.from(await readFile(`${prefix}.priv`, "utf8"), "base64");
        assert.equal(both.length, 64);
        assert.equal(both.toString("base64", 32), publicKey);
        assert.equal((await stat(`${prefix}.priv`)).mode & 0o777, 0o600);
        const again = await run("-g", "-o", prefix);
        assert.deepEqual(said(again), [1, `fwup: Couldn't create '${prefix}.pub': File exists\n`, ""]);
      });
    });

    describe("looking into an archive", () => {
      it("needs only its beginning, framed or not", async () => {
        const whole = await run("-m", "-i", "2.0.0.fw");
        assert.match(whole.stdout.toString(), /^meta-version=2\.0\.0$/m);
        const head = archive.subarray(0, 1400);
        const plain = await runFwup(path, ["-m"], { feed: (stdin) => stdin.write(head) });
        assert.deepEqual(said(plain), said(whole));
        const framed = await runFwup(path, ["-m", "-F"], {
          feed: (stdin) => stdin.write(toFrames(head, 500)),
        });
        assert.deepEqual(outcome(framed), [0, "", `OK ${whole.stdout.toString()}`]);
      });

      it("gives one value, or (null)", async () => {
        const value = async (metadataKey: string): Promise<string> =>
          (await run("-m", "--metadata-key", metadataKey, "-i", "2.0.0.fw")).stdout.toString();
        assert.equal(await value("meta-version"), "2.0.0\n");
        assert.equal(await value("meta-nothing"), "(null)\n");
      });

      it("fails when the beginning is cut off", async () => {
        const tell = async (bytes: Buffer): Promise<string> =>
          (await runFwup(path, ["-m"], { feed: (stdin) => stdin.end(bytes) })).stdout.toString();
        assert.equal(await tell(Buffer.alloc(0)), "fwup: Unrecognized archive format\n");
        assert.equal(await tell(archive.subarray(0, 20)), "fwup: Corrupt archive '(null)'\n");
        assert.equal(await tell(archive.subarray(0, 80)), "fwup: Unexpected meta.conf.ed25519 size: 0\n");
        assert.equal(await tell(archive.subarray(0, 400)), "fwup: Unexpected meta.conf size: 0\n");
      });

      it("verifies the whole archive with -V", async () => {
        assert.deepEqual(said(await run("-V", "-i", "2.0.0.fw", "--public-key", key.publicKeyBase64)), [
          0,
          "Valid archive with a good signature\n",
          "",
        ]);
        assert.match((await run("-V", "-i", "2.0.0.fw")).stdout.toString(), /unverified signature/);
        const flipped = Buffer.from(archive);
        flipped.writeUInt8(flipped.readUInt8(500_000) ^ 1, 500_000);
        await writeFile(at("flipped.fw"), flipped);
        const bad = await run("-V", "-i", "flipped.fw");
        assert.equal(bad.exitCode, 1);
        assert.match(bad.stdout.toString(), /^fwup: ZIP bad CRC/);
        assert.deepEqual(said(await run("-V")), [1, "fwup: Specify an input firmware file\n", ""]);
      });
    });

    describe("the command line", () => {
      it("that can't be understood is an error on stderr and usage on stdout, unframed", async () => {
        for (const [args, message] of [
          [["-F", "--nosuch"], "unrecognized option '--nosuch'"],
          [["-x"], "invalid option -- 'x'"],
          [["-d"], "option requires an argument -- 'd'"],
          [["--task"], "option '--task' requires an argument"],
        ] as const) {
          const { exitCode, stdout, stderr } = await run(...args);
          assert.equal(exitCode, 1);
          assert.ok(stderr.endsWith(`: ${message}\n`), stderr);
          assert.match(stdout.toString(), /Usage: fwup/);
        }
      });

      it("that is incomplete is an error, framed after -F", async () => {
        assert.deepEqual(said(await run("-a", "-d", "x")), [1, "fwup: specify a task (-t)\n", ""]);
        assert.deepEqual(outcome(await run("-F", "-a", "more")), [1, "", "ER unexpected parameter: more"]);
        assert.deepEqual(said(await run("-q", "-n", "-m")), [
          1,
          "fwup: pick either -n or -q, but not both\n",
          "",
        ]);
      });

      it("prints the version", async () => {
        const { exitCode, stdout } = await run("--version");
        assert.equal(exitCode, 0);
        assert.match(stdout.toString(), /^1\.\d+\.\d+\n$/);
      });

      it("without -F prints lines", async () => {
        await copyFile(at("disk.img"), at("copy.img"));
        const args = ["-a", "-U", "-q", "-d", "copy.img", "--task=upgrade", "-i"];
        assert.deepEqual(said(await run(...args, "2.0.0.fw")), [0, "fwup: Upgrading partition B\n", ""]);
        assert.match(
          (await run(...args, "2.0.0.fw")).stdout.toString(),
          /^fwup: Running firmware is not validated/,
        );
        await copyFile(at("disk.img"), at("copy.img"));
        const numbers = (
          await run("-n", ...args.filter((arg) => arg !== "-q"), "2.0.0.fw")
        ).stdout.toString();
        assert.match(numbers, /^0\n(fwup: .*\n)?(\d+\n)+100\n$/);
      });
    });

    describe("the device", () => {
      it("is created when it is a missing file, even if no task fits", async () => {
        await rm(at("missing.img"), { force: true });
        const refused = await run("-a", "-F", "-U", "-d", "missing.img", "-t", "nosuch", "-i", "2.0.0.fw");
        assert.equal(refused.exitCode, 1);
        assert.equal((await stat(at("missing.img"))).size, 0);
        assert.equal(
          (await run("-a", "-q", "-U", "-d", "missing.img", "-t", "complete", "-i", "2.0.0.fw")).exitCode,
          0,
        );
        assert.equal((await readDisk(at("missing.img"), 0)).partition1Block, 2048);
      });

      it("is refused when it is missing in /dev", async () => {
        const [exitCode, stderr, ...frames] = outcome(
          await run("-a", "-F", "-U", "-d", "/dev/nosuch", "-t", "complete", "-i", "2.0.0.fw"),
        );
        assert.deepEqual([exitCode, stderr], [1, "\n"]);
        assert.match(String(frames.at(-1)), /^ER Cannot create '\/dev\/nosuch'/);
      });

      it("may not be read-only", async () => {
        await writeFile(at("read-only.img"), "", { mode: 0o444 });
        const run1 = await run("-a", "-F", "-d", "read-only.img", "-t", "complete", "-i", "2.0.0.fw");
        assert.match(String(outcome(run1).at(-1)), /^ER Cannot open 'read-only\.img' for output/);
      });
    });

    describe("meta.conf", () => {
      const apply = async (metaConf: string, task = "x"): Promise<FwupRun> => {
        await writeArchive(at("own.fw"), Buffer.from(metaConf), undefined, []);
        return runFwup(path, ["-a", "-F", "-d", at("own.img"), "-t", task, "-i", at("own.fw")], {
          env: { SOME: "some text" },
        });
      };
      const info = (text: string): string => `task x { on-init { funlist={2,info,${text}} } }`;

      it("has its variables and escapes replaced", async () => {
        for (const [text, expected] of [
          ['"a ${SOME} b"', "a some text b"],
          ['"${NOTHING}${NOTHING:-other}"', "other"],
          ['"\\${SOME} \\"\\\\"', '${SOME} "\\'],
          ["${SOME}", "some text"],
          ["'${SOME}'", "${SOME}"],
        ] as const)
          assert.deepEqual(outcome(await apply(info(text))), [0, "", `WN ${expected}`, "OK "], text);
      });

      it("may have comments and be on one line", async () => {
        const text = `# one\n// two\n/* three\n */ task x { on-init { funlist = { 2 , info , hello } } }`;
        assert.deepEqual(outcome(await apply(text)), [0, "", "WN hello", "OK "]);
      });

      it("that needs a newer fwup says so on stderr", async () => {
        const text = `meta-product=x\nrequire-fwup-version=99.0.0\n${info("hello")}`;
        assert.deepEqual(outcome(await apply(text)), [
          1,
          "[buf]:2: fwup version '99.0.0' required. This is fwup version '1.16.0'.\n\n",
          "ER Unexpected error parsing meta.conf",
        ]);
      });

      it("is refused past 50000 bytes", async () => {
        const long = (size: number): string => info("hello").padEnd(size, "\n");
        assert.deepEqual(outcome(await apply(long(49_999))), [0, "", "WN hello", "OK "]);
        assert.deepEqual(outcome(await apply(long(50_000))), [
          1,
          "\n",
          "ER Unexpected meta.conf size: 50000",
        ]);
      });

      it("with an unknown function is an error before anything runs", async () => {
        const text = "task x { on-init { funlist={2,info,hello,1,dance} } }";
        assert.deepEqual(outcome(await apply(text)), [1, "\n", "ER Unknown function"]);
      });

      it("stays at 99 % until all is flushed", async () => {
        const run = await apply("task x { on-init { funlist={4,raw_memset,0,1,0,2,error,late} } }");
        const progress = parseFrames(run.stdout).filter(({ type }) => type === "PR");
        assert.deepEqual([progress.at(-1)?.code, parseFrames(run.stdout).at(-1)?.text], [99, "late"]);
      });

      it("that runs a command is refused", async () => {
        const text = "task x { on-init { funlist={2,execute,true} } }";
        assert.deepEqual(outcome(await apply(text)), [1, "\n", "ER execute requires --unsafe"]);
      });
    });
  });

describe("the stand-in beside the real fwup", { skip: fwups[1]?.skip ?? false }, () => {
  const real = realFwup() ?? "";

  /** Applies with both, each on its own disk. The disks and all output must be the same. */
  const applyWithBoth = async (archivePath: string, task: string): Promise<void> => {
    const [one, other] = await Promise.all(
      [STAND_IN, real].map(async (path, i) =>
        runFwup(path, ["-a", "-F", "-U", "-d", at(`both-${i}.img`), "-t", task, "-i", archivePath]),
      ),
    );
    assert.deepEqual(one, other);
    assert.deepEqual(await readFile(at("both-0.img")), await readFile(at("both-1.img")));
  };
  const fresh = async (): Promise<void> => {
    for (const i of [0, 1]) await rm(at(`both-${i}.img`), { force: true });
  };

  it("leaves the same disk, byte for byte, and the same progress", async () => {
    await fresh();
    await applyWithBoth(at("1.0.0.fw"), "complete");
    await applyWithBoth(at("2.0.0.fw"), "upgrade");
    await applyWithBoth(at("1.0.0.fw"), "upgrade"); // not validated
  });

  it("writes two copies of the environment in turns", async () => {
    await fresh();
    const metaConf = `uboot-environment "env" { block-offset=16\nblock-count=4\nblock-offset-redund=32\n }
      task "clear" { on-init { funlist={2,uboot_clearenv,env} } }
      task "set" { on-init { funlist={4,uboot_setenv,env,name,value,4,uboot_setenv,env,"other","\${FWUP_META_UUID}"} } }
      task "unset" { reqlist={4,"require-uboot-variable",env,name,value} on-init { funlist={3,uboot_unsetenv,env,name} } }
      task "fill" { on-init { funlist={4,uboot_setenv,env,long,"${"x".repeat(3000)}"} } }
      task "recover" { on-init { funlist={2,uboot_recover,env} } }`;
    await writeArchive(at("env.fw"), Buffer.from(metaConf), undefined, []);
    for (const task of ["set", "recover", "set", "unset", "unset", "fill", "recover", "clear", "unset"])
      await applyWithBoth(at("env.fw"), task);
  });

  it("writes the same partition tables", async () => {
    const metaConf = `mbr a { signature=0x12345678\n partition "0" { block-offset=2048\nblock-count=100\ntype=0xc\n }
        partition "3" { block-offset=20000\nblock-count=1\ntype=131\nboot=true\nexpand=true\n } }
      task x { on-init { funlist={2,mbr_write,a} } }`;
    await writeArchive(at("mbr.fw"), Buffer.from(metaConf), undefined, []);
    for (const i of [0, 1]) await copyFile(at("disk.img"), at(`both-${i}.img`));
    await applyWithBoth(at("mbr.fw"), "x");
  });
});

describe("the executable", () => {
  it("runs through a link, from anywhere, and several at once", async () => {
    await symlink(STAND_IN, at("fwup"));
    const runs = [1, 2, 3, 4].map(async () => runFwup(at("fwup"), ["-l", "-i", "2.0.0.fw"], { cwd: folder }));
    for (const { exitCode, stdout } of await Promise.all(runs))
      assert.deepEqual([exitCode, stdout.toString().split("\n")[0]], [0, "complete"]);
  });

  it("refuses an unsupported function by its name", async () => {
    const metaConf = "task x { on-init { funlist={3,fat_mkfs,0,100} } }";
    await writeArchive(at("fat.fw"), Buffer.from(metaConf), undefined, []);
    const run = await runFwup(STAND_IN, ["-a", "-F", "-d", at("fat.img"), "-t", "x", "-i", at("fat.fw")]);
    assert.deepEqual(outcome(run), [1, "\n", "ER fat_mkfs isn't supported by this stand-in for fwup"]);
  });
});
