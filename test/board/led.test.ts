/** An LED that blinks, in a folder that stands for sysfs. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { Led } from "../../src/board/led.ts";
import { eventually } from "../eventually.ts";
import { failure } from "../identity/failure.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { testWorld } from "../platform/world.ts";

describe("an LED", () => {
  let root: string;
  let clock: FakeClock;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "hublink-led-"));
    clock = new FakeClock();
  });
  afterEach(async () => rm(root, { recursive: true }));

  const file = (name: string): string => join(root, "sys/class/leds/ACT", name);
  const has = async (name: string): Promise<string> => readFile(file(name), "utf8");
  const led = async (files: Readonly<Record<string, string>>): Promise<void> => {
    await mkdir(file("."), { recursive: true });
    for (const [name, text] of Object.entries({ max_brightness: "255\n", ...files }))
      await writeFile(file(name), text);
  };
  const open = async (name = "ACT"): Promise<Led> => Led.open(name, testWorld({ root, clock }));

  it("blinks twice a second for the given time, then has its old brightness", async () => {
    await led({ brightness: "40\n", trigger: "[none] mmc0 timer\n" });
    const blinking = (await open()).blink(2000, new AbortController().signal);
    const seen: string[] = [];
    for (let times = 0; times < 8; times += 1) {
      await eventually(() => clock.pending === 1, "the LED's next change");
      seen.push(await has("brightness"));
      await clock.advance(250);
    }
    await blinking;
    assert.deepEqual(seen, ["255", "0", "255", "0", "255", "0", "255", "0"]);
    assert.equal(await has("brightness"), "40");
    assert.equal(clock.pending, 0);
  });

  it("has its old trigger afterwards, with the settings that the kernel forgets", async () => {
    await led({ brightness: "0\n", trigger: "none mmc0 [timer]\n", delay_on: "900\n", delay_off: "100\n" });
    const stopping = new AbortController();
    const blinking = (await open()).blink(10_000, stopping.signal);
    await eventually(() => clock.pending === 1, "the LED's next change");
    assert.equal(await has("trigger"), "none");
    for (const name of ["delay_on", "delay_off"]) await writeFile(file(name), "500\n");
    stopping.abort(new Error("stop"));
    await blinking;
    assert.deepEqual(await Promise.all(["trigger", "delay_on", "delay_off"].map(has)), [
      "timer",
      "900\n",
      "100\n",
    ]);
    assert.equal(clock.pending, 0);
  });

  it("that is missing is named in the failure, with the LEDs that exist", async () => {
    await assert.rejects(open("PWR"), failure("config", "no LED PWR; this kernel shows none"));
    await led({ brightness: "0\n", trigger: "[none]\n" });
    await assert.rejects(open("PWR"), failure("config", "no LED PWR; there are: ACT"));
  });

  const rootOnly = { skip: process.getuid?.() !== 0 && "only root can become somebody else" };
  it("that may not be written is refused, with the remedy", rootOnly, async () => {
    await led({ brightness: "0\n", trigger: "[none]\n" });
    await chmod(root, 0o755);
    const module = join(import.meta.dirname, "../../src/board/led.ts");
    const open = `Led.open("ACT", ${JSON.stringify({ root })})`;
    const code = `import { Led } from "${module}"; process.setuid(65534);
      ${open}.catch((error) => console.log(error.kind, error.message));`;
    const program = ["--import", "tsx", "--input-type=module", "-e", code];
    const { stdout, stderr } = spawnSync(process.execPath, program, { encoding: "utf8" });
    assert.match(stdout + stderr, /^permission the LED ACT: permission denied; run as root, or give .+\n$/);
  });
});
