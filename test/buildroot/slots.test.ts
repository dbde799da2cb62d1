/**
 * Updates, reverts and factory resets on a card of buildroot/, by the real fwup and by the agent. An update that is
 * killed anywhere must leave what ran before.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { writeVariables } from "../../src/firmware/uboot-environment.ts";
import { PATIENCE_MS } from "../eventually.ts";
import { COMMON, DATA_OFFSET, KERNEL_OFFSETS, makeCard, missing, type Card } from "./card.ts";

const ERASED = Buffer.alloc(4096, 0xff);

/** A card that left the factory with 1.0.0 in slot a. */
async function newCard(t: TestContext): Promise<Card> {
  const card = await makeCard(t);
  done(card.run(await card.firmware("1.0.0"), "complete"));
  return card;
}

/** A card whose slot b runs 2.0.0, validated, with 1.0.0 in slot a. */
async function updatedCard(t: TestContext): Promise<Card> {
  const card = await newCard(t);
  done(card.run(await card.firmware("2.0.0"), "upgrade"));
  done(card.ops("validate"));
  return card;
}

/** A task's text with the slots exchanged: their names, offsets and root partitions. */
function exchangeSlots(text: string): string {
  const counterparts: Readonly<Record<string, string>> = { a: "b", b: "a", A: "B", B: "A", 1: "2", 2: "1" };
  return text.replaceAll(
    /(?<=")[ab](?="|\.nerves)|(?<=_)[AB](?=_OFFSET)|(?<=offset\()[12]|(?<=[Ss]lot )[AB]|(?<=info\(")[ab](?=,)/g,
    (name) => counterparts[name] ?? name,
  );
}

function done(spoken: { exitCode: number | null; text: string }): void {
  assert.equal(spoken.exitCode, 0, spoken.text);
}

describe("the tasks of fwup.conf and ops.conf", () => {
  for (const config of ["fwup.conf", "ops.conf"]) {
    it(`${config}: do the same for both slots`, () => {
      const text = readFileSync(join(COMMON, config), "utf8");
      const tasks = new Map<string, string>();
      for (const [, name = "", body = ""] of text.matchAll(/^task (\S+) \{\n(.*?)^\}/gms))
        tasks.set(name, body);
      const pairs = [...tasks.keys()].filter((name) => /\.a\b/.test(name));
      assert.ok(pairs.length >= 2);
      for (const name of pairs) {
        assert.equal(
          exchangeSlots(tasks.get(name) ?? ""),
          tasks.get(name.replace(/\.a\b/, ".b")),
          `${name} and its counterpart`,
        );
      }
    });
  }
});

describe("a card of buildroot/, by the real fwup", { skip: missing("fwup") }, () => {
  it("comes with validated firmware in slot a and nothing to boot in slot b", async (t) => {
    const card = await newCard(t);
    const { running } = await card.boot("fw_slot=a fw_validated=1");
    assert.deepEqual(
      {
        slot: running?.slot,
        version: running?.version,
        platform: running?.platform,
        product: running?.product,
      },
      { slot: "a", version: "1.0.0", platform: "rpi0", product: "demo" },
    );
    assert.equal(running?.validated, true);
    assert.deepEqual(running.warnings, []);
    assert.equal(running.devpath, "/dev/mmcblk0");
    assert.deepEqual(await card.readBlocks(KERNEL_OFFSETS.b, 8), ERASED);
  });

  it("leaves no old environment, slot or data on a card that was used before", async (t) => {
    const card = await updatedCard(t);
    await card.writeBlocks(272, Buffer.alloc(512, 1));
    await card.writeBlocks(DATA_OFFSET, Buffer.alloc(2048, 1));
    done(card.run(await card.firmware("3.0.0"), "complete"));
    assert.equal((await card.environment()).get("b.nerves_fw_version"), undefined);
    assert.deepEqual(await card.readBlocks(272, 8), ERASED);
    assert.deepEqual(await card.readBlocks(DATA_OFFSET, 8), ERASED);
    assert.deepEqual(await card.readBlocks(KERNEL_OFFSETS.b, 8), ERASED);
  });

  it("goes from a to b and back to a, each on trial until it is validated", async (t) => {
    const card = await newCard(t);
    done(card.run(await card.firmware("2.0.0"), "upgrade"));
    assert.equal(card.ops("status").text, "b, on trial");
    const onTrial = (await card.boot("fw_slot=b fw_validated=0")).running;
    assert.deepEqual(
      [onTrial?.version, onTrial?.validated, onTrial?.other?.version],
      ["2.0.0", false, "1.0.0"],
    );
    assert.equal(onTrial?.uuid?.length, 36);
    assert.deepEqual([await card.rootText("a"), await card.rootText("b")], ["root 1.0.0", "root 2.0.0"]);

    done(card.ops("validate"));
    assert.equal(card.ops("status").text, "b");
    done(card.run(await card.firmware("3.0.0"), "upgrade"));
    assert.equal(card.ops("status").text, "a, on trial");
    assert.deepEqual([await card.rootText("a"), await card.rootText("b")], ["root 3.0.0", "root 2.0.0"]);
    assert.equal((await card.boot("fw_slot=a fw_validated=0")).running?.uuid?.length, 36);
  });

  it("refuses an update while the running firmware is on trial", async (t) => {
    const card = await newCard(t);
    const next = await card.firmware("2.0.0");
    done(card.run(next, "upgrade"));
    assert.deepEqual(card.run(next, "upgrade"), {
      exitCode: 1,
      text: "The running firmware is not validated; validate it before updating again",
    });
    assert.equal(await card.rootText("a"), "root 1.0.0");
  });

  it("refuses firmware for another platform", async (t) => {
    const card = await newCard(t);
    assert.deepEqual(card.run(await card.firmware("2.0.0", { platform: "rpi4-64" }), "upgrade"), {
      exitCode: 1,
      text: "This firmware is for platform rpi4-64 (arm), which this board is not",
    });
    assert.equal(card.ops("status").text, "a");
  });

  it("names an environment or partitions that are not as expected", async (t) => {
    const card = await newCard(t);
    const next = await card.firmware("2.0.0");
    await card.writeBlocks(16, Buffer.alloc(512, 7));
    for (const spoken of [card.run(next, "upgrade"), card.ops("status")]) {
      assert.equal(spoken.exitCode, 1);
      assert.match(spoken.text, /^Unexpected .*U-Boot environment/);
    }
  });

  it("reverts to the other slot only while it holds firmware", async (t) => {
    const card = await updatedCard(t);
    assert.deepEqual(card.ops("revert"), { exitCode: 0, text: "Reverting to slot A" });
    assert.equal(card.ops("status").text, "a");
    done(card.ops("revert"));
    assert.equal(card.ops("status").text, "b");

    done(card.ops("prevent-revert"));
    assert.deepEqual(card.ops("revert"), {
      exitCode: 1,
      text: "The other slot holds no firmware to revert to",
    });
    assert.equal(card.ops("status").text, "b");
    assert.deepEqual(await card.readBlocks(KERNEL_OFFSETS.a, 8), ERASED);
  });

  it("keeps the other slot while the running firmware is on trial", async (t) => {
    const card = await newCard(t);
    done(card.run(await card.firmware("2.0.0"), "upgrade"));
    for (const task of ["invalidate", "prevent-revert"]) {
      assert.deepEqual(card.ops(task), {
        exitCode: 1,
        text: "The running firmware is not validated; the other slot is still needed",
      });
    }
    assert.match((await card.readBlocks(KERNEL_OFFSETS.a, 1)).toString("latin1"), /^kernel 1\.0\.0/);
  });

  it("removes all that describes a slot when it makes the slot invalid", async (t) => {
    const card = await updatedCard(t);
    done(card.ops("invalidate"));
    const names = [...(await card.environment()).keys()].filter((name) => name.startsWith("a."));
    assert.deepEqual(names, ["a.nerves_fw_product"]);
    assert.deepEqual(await card.readBlocks(KERNEL_OFFSETS.a, 8), ERASED);
  });

  it("erases the data partition, and nothing else, for a factory reset", async (t) => {
    const card = await updatedCard(t);
    const before = await card.environment();
    await card.writeBlocks(DATA_OFFSET, Buffer.alloc(4096, 1));
    done(card.ops("factory-reset"));
    assert.deepEqual(await card.readBlocks(DATA_OFFSET, 8), ERASED);
    assert.deepEqual(await card.environment(), before);
  });

  it("boots the old firmware when an update is killed at any point, and installs the update afterwards", async (t) => {
    const card = await newCard(t);
    const next = await card.firmware("2.0.0", { rootKib: 12_000 });
    const { size } = await stat(next);
    for (const share of [0.01, 0.3, 0.7, 0.95]) {
      done(card.ops("invalidate"));
      await card.killed(next, Math.floor(size * share));
      assert.equal(card.ops("status").text, "a", `killed at ${share}`);
      assert.equal(await card.rootText("a"), "root 1.0.0");
      assert.equal(card.ops("revert").exitCode, 1, "the half-written slot is not one to revert to");
    }
    done(card.run(next, "upgrade"));
    assert.equal(card.ops("status").text, "b, on trial");
    assert.equal(await card.rootText("b"), "root 2.0.0");
  });
});

describe("the agent on a card of buildroot/", { skip: missing("fwup") }, () => {
  it("validates, and makes the other slot invalid before it is written", async (t) => {
    const card = await newCard(t);
    done(card.run(await card.firmware("2.0.0"), "upgrade"));
    const board = await card.boot("fw_slot=b fw_validated=0");
    await board.validate();
    assert.equal(card.ops("status").text, "b");
    await board.clearTarget(AbortSignal.timeout(PATIENCE_MS));
    assert.equal(card.ops("revert").exitCode, 1);
  });

  it("reverts", async (t) => {
    const card = await updatedCard(t);
    await (await card.boot("fw_slot=b fw_validated=1")).revert();
    assert.equal(card.ops("status").text, "a");
  });

  it("reports that the boot script fell back, and the firmware that failed", async (t) => {
    const card = await newCard(t);
    done(card.run(await card.firmware("2.0.0"), "upgrade"));
    const failed = (await card.environment()).get("b.nerves_fw_uuid");
    const bootScriptsDoing = { nerves_fw_active: "a", nerves_fw_validated: "1", nerves_fw_reverted: "1" };
    await writeVariables(card.environmentConfig, new Map(Object.entries(bootScriptsDoing)));
    const fallen = await card.boot("fw_slot=a fw_validated=1");
    assert.equal(fallen.running?.slot, "a");
    assert.deepEqual([fallen.fellBack, fallen.fellBackFrom?.uuid], [true, failed]);
    await fallen.clearTarget(AbortSignal.timeout(PATIENCE_MS));
    assert.equal((await card.environment()).get("nerves_fw_reverted"), undefined);
  });
});
