import type { Scenario } from "../board.ts";

const KEY = "nhp_qemu";
const SECRET = "a product's secret";

/** A board without the time proves its identity with a signature that contains the time. */
export const clock: Scenario = {
  board: {
    withoutTime: true,
    secrets: { [KEY]: { secret: SECRET } },
    files: { "etc/secret": `${SECRET}\n` },
    config: {
      identity: {
        source: "shared-secret",
        identifier: "qemu-rpi0-1",
        shared_secret: { key: KEY, secret_file: "/data/etc/secret" },
      },
    },
  },
  async play(board) {
    board.powerOn();
    await board.starts("a", "1.0.0");
    await board.joins("1.0.0");
    const [, year = "?"] = /^(\d{4})$/m.exec(await board.run("date +%Y")) ?? [];
    if (Number(year) < 2026) throw new Error(`the board's clock says ${year}`);
    board.say(`it was in 1970, and the hub takes its signature: the agent has set the clock, to ${year}`);
  },
};
