/** `hublink upload`: only the daemon has a connection to the hub, so it reads the file and sends it. */
import { resolve } from "node:path";
import * as v from "valibot";
import { ProgressPayload, Uploaded } from "../control/messages.ts";
import { printable } from "../platform/text.ts";
import { readConfig, runningDaemon } from "./config.ts";
import { formatBytes, ProgressBar } from "./progress-bar.ts";
import type { Arguments, CommandContext } from "./terminal.ts";

/** `hublink upload FILE`: sends a file to the people who have the hub's console open. */
export async function upload(context: CommandContext, { operand: file }: Arguments): Promise<void> {
  const { state } = await readConfig(context);
  const bar = new ProgressBar(context.terminal, context.world.clock);
  const daemon = await runningDaemon(
    {
      path: state.controlSocket,
      subscribe: ["upload_progress"],
      onEvent: (_, payload) => {
        const progress = v.safeParse(ProgressPayload, payload);
        if (progress.success) bar.show({ ...progress.output, bytes: progress.output.bytes ?? 0 });
      },
    },
    "start it with hublink run",
  );
  let uploaded: v.InferOutput<typeof Uploaded> | undefined;
  try {
    uploaded = v.parse(Uploaded, await daemon.request("upload", { path: resolve(file) }));
  } finally {
    bar.end(uploaded !== undefined);
    daemon.close();
  }
  context.terminal.stdout.write(
    `sent ${printable(uploaded.name)}, ${formatBytes(uploaded.size)}, to the hub's console\n`,
  );
}
