/** A GPIO line through libgpiod's tools, whose two versions are played by scripts. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { GpioLine } from "../../src/board/gpio-chip.ts";
import { findLine } from "../../src/board/gpio-line.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { eventually } from "../eventually.ts";
import { failure } from "../identity/failure.ts";
import { testWorld } from "../platform/world.ts";

/**
 * The words of both versions, as their manuals have them. A gpioset holds its line for as long as it runs:
 * this one writes its arguments to `held`, lists them in `starts`, and refuses while the file `busy` is there.
 */
const TOOLS = {
  "1.6.3": {
    version: "gpioset (libgpiod) v1.6.3",
    info: 'gpiochip0 - 54 lines:\n\tline  16:     "GPIO16"       unused   input  active-high\n\tline  17:     "GPIO17"    "led-driver"  output  active-high [used]',
    held: ["--mode=signal gpiochip0 17=0", "--mode=signal gpiochip0 17=1"],
  },
  "2.2.1": {
    version: "gpioset (libgpiod) v2.2.1",
    info: 'gpiochip0 17\t"GPIO17"       \toutput consumer="led-driver"',
    held: ["-c gpiochip0 17=0", "-c gpiochip0 17=1"],
  },
} as const;

for (const [version, { version: words, info, held }] of Object.entries(TOOLS)) {
  describe(`a GPIO line by libgpiod ${version}, where sysfs has none`, () => {
    let dir: string;
    let line: GpioLine | undefined;
    const path = process.env["PATH"] ?? "";
    beforeEach(async () => {
      dir = await mkdtemp(join(tmpdir(), "hublink-gpiod-"));
      const tool = async (name: string, ...text: string[]): Promise<void> =>
        writeFile(join(dir, name), ["#!/bin/sh", ...text, ""].join("\n"), { mode: 0o755 });
      await tool("gpiodetect", 'echo "gpiochip0 [pinctrl-bcm2835] (54 lines)"');
      await tool("gpioinfo", `cat << 'END'\n${info}\nEND`);
      await tool(
        "gpioset",
        `if [ "$1" = --version ]; then echo "${words}"; exit 0; fi`,
        `if [ -e ${dir}/busy ]; then echo "gpioset: Device or resource busy" >&2; touch ${dir}/refused; exit 1; fi`,
        `echo "$@" >> ${dir}/starts; echo $$ "$@" > ${dir}/held.new; mv ${dir}/held.new ${dir}/held`,
        "exec sleep 1000",
      );
      process.env["PATH"] = `${dir}${delimiter}${path}`;
    });
    afterEach(async () => {
      await line?.close();
      process.env["PATH"] = path;
      await rm(dir, { recursive: true });
    });
    const find = async () => findLine("GPIO17", testWorld({ root: dir, clock: systemClock }));
    /** The process that holds the line, and its arguments. */
    const holder = (): { pid: number; args: string } => {
      const [pid = "", ...args] = existsSync(join(dir, "held"))
        ? readFileSync(join(dir, "held"), "utf8").trim().split(" ")
        : [];
      return { pid: Number(pid), args: args.join(" ") };
    };
    const runs = (pid: number): boolean =>
      existsSync(`/proc/${pid}/stat`) && !readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ");

    it("is found by its chip's label, with who uses it", async () => {
      const found = await find();
      assert.equal(found.name, "GPIO17 of pinctrl-bcm2835 (line 17 of gpiochip0, by gpioset)");
      assert.equal(await found.user(), "led-driver");
    });

    it("is chosen by the chip's device where two chips have one label", async () => {
      await mkdir(join(dir, "sys/bus/gpio/devices"), { recursive: true });
      for (const n of [0, 1])
        await symlink(
          `../../../devices/soc/20-002${n}/gpiochip${n}`,
          join(dir, `sys/bus/gpio/devices/gpiochip${n}`),
        );
      const both = 'echo "gpiochip0 [pca9555] (16 lines)"; echo "gpiochip1 [pca9555] (16 lines)"';
      await writeFile(join(dir, "gpiodetect"), `#!/bin/sh\n${both}\n`, { mode: 0o755 });
      const world = testWorld({ root: dir, clock: systemClock });
      await assert.rejects(findLine("pca9555:3", world), /several GPIO chips.*20-0020, 20-0021/);
      const { name } = await findLine("20-0021:3", world);
      assert.equal(name, "GPIO3 of pca9555 (line 3 of gpiochip1, by gpioset)");
    });

    it("is held by one gpioset for each change, and by none when it is given back", async () => {
      line = await (await find()).open(false);
      await eventually(() => holder().args === held[0], "the first level");
      const { pid: first } = holder();
      line.set(false); // as it is
      line.set(true);
      await eventually(() => holder().args === held[1], "the next level");
      line.set(true);
      assert.deepEqual(readFileSync(join(dir, "starts"), "utf8").trim().split("\n"), held);
      // It has closed its files, but the kernel may not have removed it yet.
      await eventually(() => !runs(first), "the end of the first gpioset");
      await line.close();
      await eventually(() => !runs(holder().pid), "the end of the last one");
      line = undefined;
    });

    it("is tried again after it was busy, and the failure says that it was", async () => {
      await writeFile(join(dir, "busy"), "");
      line = await (await find()).open(false);
      const set = (): string => {
        try {
          line?.set(true);
          return "";
        } catch (error) {
          return String(error);
        }
      };
      await eventually(() => existsSync(join(dir, "refused")), "that it refuses");
      await eventually(() => set().includes("gpioset: Device or resource busy"), "that it is busy");
      await rm(join(dir, "busy"));
      await eventually(() => {
        set();
        return holder().args === held[1];
      }, "the level");
    });

    it("is refused with the words of the tools", async () => {
      await writeFile(join(dir, "gpiodetect"), "#!/bin/sh\necho 'no permission' >&2; exit 1\n");
      await assert.rejects(find(), failure("unavailable", "gpiodetect: no permission"));
    });
  });
}
