/** A GPIO line through sysfs, and the external watchdog on it. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { findLine, type FoundLine } from "../../src/board/gpio-line.ts";
import { Failure } from "../../src/platform/failure.ts";
import { PATIENCE_MS } from "../eventually.ts";
import { failure } from "../identity/failure.ts";
import { cannotUnshare } from "../namespaces.ts";
import { testWorld } from "../platform/world.ts";

describe("a GPIO line in sysfs", () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "hublink-gpio-"));
    await mkdir(join(root, "sys/class/gpio"), { recursive: true });
    await writeFile(join(root, "sys/class/gpio/export"), "");
  });
  afterEach(async () => rm(root, { recursive: true }));

  const chip = async (label: string, base: number, ngpio: number): Promise<void> => {
    const folder = join(root, `sys/class/gpio/gpiochip${base}`);
    await mkdir(folder);
    for (const [file, value] of Object.entries({ label, base, ngpio }))
      await writeFile(join(folder, file), `${value}\n`);
  };
  const find = async (line: string): Promise<FoundLine> =>
    findLine(
      line,
      testWorld({ root, run: async () => Promise.reject(new Failure("unavailable", "gpioset: not found")) }),
    );

  for (const [kernel, base] of [
    ["of old", 0],
    ["6.1", 458],
    ["6.6 and later", 512],
  ] as const) {
    for (const line of ["17", "GPIO17", "pinctrl-bcm2835:17"]) {
      it(`is found as ${line} with the base of kernel ${kernel}`, async () => {
        await chip("pinctrl-bcm2835", base, 54);
        await chip("raspberrypi-exp-gpio", 600, 8);
        assert.equal((await find(line)).name, `GPIO17 of pinctrl-bcm2835 (sysfs ${base + 17})`);
      });
    }
  }

  it("is found on another chip by its label", async () => {
    await chip("pinctrl-bcm2835", 512, 54);
    await chip("raspberrypi-exp-gpio", 600, 8);
    assert.equal((await find("raspberrypi-exp-gpio:3")).name, "GPIO3 of raspberrypi-exp-gpio (sysfs 603)");
  });

  it("is named in the failure when the chip does not have it or is missing", async () => {
    await chip("pinctrl-bcm2835", 512, 54);
    await assert.rejects(find("54"), failure("config", "pinctrl-bcm2835 has no line 54, only lines 0 to 53"));
    await assert.rejects(
      find("pinctrl-rp1:17"),
      failure("config", "no GPIO chip pinctrl-rp1; there are: pinctrl-bcm2835"),
    );
  });

  it("needs its chip's label where several chips could have it", async () => {
    await chip("209c000.gpio", 0, 32);
    await chip("20a0000.gpio", 32, 32);
    await assert.rejects(
      find("17"),
      failure("config", "several GPIO chips (209c000.gpio, 20a0000.gpio)", 'as in "209c000.gpio:17"'),
    );
  });

  it("is chosen by the chip's device where two chips have one label", async () => {
    for (const [base, device] of [
      [512, "20-0020"],
      [528, "20-0021"],
    ] as const) {
      await chip("pca9555", base, 16);
      await symlink(`../../../${device}`, join(root, `sys/class/gpio/gpiochip${base}/device`));
    }
    for (const line of ["3", "pca9555:3"])
      await assert.rejects(
        find(line),
        failure("config", "several GPIO chips", "20-0020, 20-0021", '"20-0020:3"'),
      );
    assert.equal((await find("20-0021:3")).name, "GPIO3 of pca9555 (sysfs 531)");
  });

  it("shows who may use it already", async () => {
    await chip("pinctrl-bcm2835", 512, 54);
    await mkdir(join(root, "sys/class/gpio/gpio529"));
    assert.match((await (await find("17")).user()) ?? "", /exported it in sysfs/);
    assert.equal(await (await find("18")).user(), undefined);
  });

  it("names what is missing on a board without GPIO in sysfs and without the tools", async () => {
    await rm(join(root, "sys"), { recursive: true });
    await assert.rejects(find("17"), failure("unavailable", "CONFIG_GPIO_SYSFS", "libgpiod's tools"));
  });
});

/**
 * Makes of /sys/class/gpio, in a mount namespace of its own, a folder with one chip, and a stand-in for the
 * kernel that exports and unexports, and ends with the process namespace.
 */
const NAMESPACE = `
set -e
mount -t tmpfs none /sys/class
mkdir -p /sys/class/gpio/gpiochip512
cd /sys/class/gpio
echo pinctrl-bcm2835 > gpiochip512/label
echo 512 > gpiochip512/base
echo 54 > gpiochip512/ngpio
mkfifo -m 0622 export unexport
while n=$(cat export); do mkdir "gpio$n"; for f in direction value active_low edge; do echo > "gpio$n/$f"; done; done &
while n=$(cat unexport); do rm -r "gpio$n"; done &
[ -z "$LEFT" ] || { mkdir gpio529; for f in direction value active_low edge; do echo > gpio529/$f; done; }
[ -z "$CLOSED" ] || chmod 0600 export
cd "$OLDPWD"
"$@"
`;
const cannot = cannotUnshare("-m", "mount", "-t", "tmpfs", "none", "/sys/class");

describe("an external watchdog on a line that onoff drives", { skip: cannot }, () => {
  const drive = (args: readonly string[], env: Readonly<Record<string, string>> = {}): string[] => {
    const program = [process.execPath, "--import", "tsx", join(import.meta.dirname, "gpio-process.ts")];
    const { stdout, stderr, status } = spawnSync(
      "unshare",
      ["-m", "-p", "-f", "sh", "-c", NAMESPACE, "sh", ...program, ...args],
      { encoding: "utf8", env: { ...process.env, LEFT: "", CLOSED: "", ...env }, timeout: PATIENCE_MS },
    );
    assert.deepEqual([stderr, status], ["", 0]);
    return stdout.trim().split("\n");
  };

  it("is toggled while the agent is well, rests while it is not, and stops for good to reset the board", () => {
    assert.deepEqual(drive(["17", "toggle"]), [
      "GPIO17 of pinctrl-bcm2835 (sysfs 529), toggled each 1000 ms",
      "direction: low",
      "after 1 s: 1",
      "after 2 s: 0",
      "after 3 s: 1",
      "not well: 0",
      "well again: 1",
      "reset: 0",
      "after 200 ms: 0",
      "after 5 s: 0",
      "exported: false",
      "timers: 0",
      "warn the external watchdog is not fed any more: it resets the board when its time is over",
    ]);
  });

  it("is asserted by low where it is active low", () => {
    const lines = drive(["17", "toggle", "low"]);
    assert.deepEqual(lines.slice(1, 5), ["direction: high", "after 1 s: 0", "after 2 s: 1", "after 3 s: 0"]);
    assert.ok(lines.includes("after 5 s: 1"));
  });

  it("with mode = pulse is left at rest, and gets one pulse to reset", () => {
    assert.deepEqual(drive(["17", "pulse"]), [
      "GPIO17 of pinctrl-bcm2835 (sysfs 529), pulsed for 200 ms to reset",
      "direction: low",
      ...["after 1 s: ", "after 2 s: ", "after 3 s: ", "not well: ", "well again: "],
      "reset: 1",
      "after 200 ms: 0",
      "after 5 s: 0",
      "exported: false",
      "timers: 0",
    ]);
  });

  it("is taken over when it is exported already, as by an agent that was killed", () => {
    const lines = drive(["17", "toggle"], { LEFT: "yes" });
    assert.ok(lines.includes("after 1 s: 1"), lines.join("\n"));
    assert.ok(
      lines.includes(
        "warn GPIO17 of pinctrl-bcm2835 (sysfs 529) is in use by whoever exported it in sysfs; it is taken over",
      ),
    );
  });

  it("is named in the failure when permission is denied", () => {
    assert.deepEqual(drive(["17", "toggle", "high", "nobody"], { CLOSED: "yes" }), [
      "the GPIO line (sysfs 529): permission denied; run as root, or give the agent's group /sys/class/gpio",
    ]);
  });
});
