import type { Board, Scenario } from "../board.ts";

/** A lamp hangs on this line of the board's header. */
const GPIO = 27;

/** The file of the lamp's line, whatever base the kernel counts from. */
const STARTUP = `
label=$(grep -l pinctrl-bcm2835 /sys/class/gpio/gpiochip*/label)
line=$(($(cat "\${label%label}base") + ${GPIO}))
echo $line > /sys/class/gpio/export
echo out > /sys/class/gpio/gpio$line/direction
ln -s /sys/class/gpio/gpio$line/value /run/lamp`;

/** Somebody at the hub chooses a value and presses a button: a lamp on the board's header goes on, and off again. */
export const components: Scenario = {
  board: {
    api: "2.4",
    startup: STARTUP,
    config: {
      component: [
        {
          ...{ identifier: "lamp", label: "Lamp" },
          action: [
            {
              identifier: "off",
              command: "echo 0 > /run/lamp; echo off on $(cat /etc/version), as $(id -un)",
            },
            { identifier: "break", command: "echo no lamp here >&2; exit 3" },
          ],
          mode: [
            {
              ...{ identifier: "light", values: ["on", "off"] },
              get: "grep -q 1 /run/lamp && echo on || echo off",
              set: "case $1 in on) echo 1;; *) echo 0;; esac > /run/lamp",
            },
          ],
        },
      ],
    },
  },
  async play(board) {
    const { hub, device, say } = board;
    const { identifier } = device;
    board.powerOn();
    await board.boots("a", "1.0.0");
    await board.message("components:report");
    await light(board, "off");

    const { status, output } = await hub.setMode(identifier, "lamp", "light", "on");
    say(`the hub sets the light on: ${status ?? ""} ${output ?? ""}`);
    await light(board, "on");
    for (const action of ["off", "break"]) {
      const result = await hub.runAction(identifier, "lamp", action);
      say(`the hub presses "${action}": ${JSON.stringify([result["status"], result["output"]])}`);
      const expected =
        action === "off" ? ["ok", "off on 1.0.0, as root"] : ["error", "ended with 3\nno lamp here"];
      if (result["status"] !== expected[0] || result["output"] !== expected[1])
        throw new Error(`the result is not ${JSON.stringify(expected)}`);
    }
    await light(board, "off");
  },
};

/** Waits until a health report says this of the lamp, and looks at the line from outside of the board. */
async function light(board: Board, value: "on" | "off"): Promise<void> {
  await board.message("health:report", ({ value: report }) => {
    const { metadata } = report as { readonly metadata: Readonly<Record<string, string>> };
    return metadata["lamp.light"] === value;
  });
  const seen = (await board.isHigh(GPIO)) ? "on" : "off";
  if (seen !== value) throw new Error(`the lamp is ${seen}, and the board says that it is ${value}`);
  board.say(`the board says that the lamp is ${value}, and the host sees that on GPIO${GPIO}`);
}
