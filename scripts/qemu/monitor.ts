/** The connection to QEMU's monitor, which shows what the board's pins do. */
import { createInterface } from "node:readline";
import type { Duplex } from "node:stream";
import * as v from "valibot";

const ReplySchema = v.union([
  v.object({ return: v.string() }),
  v.object({ error: v.object({ desc: v.string() }) }),
]);

/** QEMU's monitor, through its machine protocol QMP. */
export interface Monitor {
  /**
   * Runs a command as a person types it in the monitor, such as `xp /1wx 0x20200034`.
   * @returns its output
   * @throws Error when QEMU refuses it
   */
  run(command: string): Promise<string>;
}

/** @param wire to a QEMU that has just been started */
export function openMonitor(wire: Duplex): Monitor {
  const waiting: ((line: string) => void)[] = [];
  const lines = createInterface({ input: wire });
  lines.on("line", (line) => {
    // Only replies count: QEMU sends events at any time, and a greeting first.
    if (/^\{"(return|error)"/.test(line)) waiting.shift()?.(line);
  });
  lines.on("error", () => undefined); // QEMU has ended; the machine's `failed` reports that
  const execute = async (request: object): Promise<unknown> =>
    new Promise((resolve) => {
      waiting.push((line) => {
        resolve(JSON.parse(line));
      });
      wire.write(`${JSON.stringify(request)}\n`);
    });
  const ready = execute({ execute: "qmp_capabilities" });
  return {
    async run(command) {
      await ready;
      const request = { execute: "human-monitor-command", arguments: { "command-line": command } };
      const reply = v.parse(ReplySchema, await execute(request));
      if ("error" in reply) throw new Error(`QEMU's monitor refuses ${command}: ${reply.error.desc}`);
      return reply.return.trim();
    },
  };
}
