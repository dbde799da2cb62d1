import { resolve } from "node:path";
import * as v from "valibot";
import { ProgressPayload, Uploaded } from "../control/messages.ts";
import { systemClock } from "../platform/clock.ts";
import { Failure } from "../platform/failure.ts";
import { readConfig } from "./config.ts";
import { connectToDaemon } from "../control/client.ts";
import { createProgressBar, formatBytes } from "./progress-bar.ts";
import type { Arguments, CommandContext } from "./terminal.ts";

/** `hublink upload FILE`: the daemon sends a file to whoever has the hub's console open. */
export async function upload(context: CommandContext, { operand: file }: Arguments): Promise<void> {
  const config = await readConfig(context);
  const path = config.state.controlSocket;
  const bar = createProgressBar(context.terminal, systemClock);
  const daemon = await connectToDaemon({
    path,
    subscribe: ["upload_progress"],
    onEvent: (_, payload) => {
      const progress = v.safeParse(ProgressPayload, payload);
      if (progress.success) bar.show({ ...progress.output, bytes: progress.output.bytes ?? 0 });
    },
  });
  if (daemon === undefined) {
    throw new Failure("unavailable", `no daemon listens on ${path}; start it with hublink run`);
  }
  let uploaded: v.InferOutput<typeof Uploaded> | undefined;
  try {
    uploaded = v.parse(Uploaded, await daemon.request("upload", { path: resolve(file) }));
  } finally {
    bar.end(uploaded !== undefined);
    daemon.close();
  }
  context.terminal.stdout.write(
    `sent ${uploaded.name}, ${formatBytes(uploaded.size)}, to the hub's console\n`,
  );
}
