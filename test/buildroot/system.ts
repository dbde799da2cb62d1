/** A machine of its own for the package's init scripts: a namespace with busybox's programs. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { eventually } from "../eventually.ts";
import { isolated, PACKAGE } from "./installed.ts";

/** A machine in a namespace of its own, with the package's scripts and busybox's programs. */
export interface System {
  /** Runs a command of the shell. @returns what it prints @throws when it fails */
  readonly run: (command: string) => Promise<string>;
  /** Calls S95hublink. @returns what it prints */
  readonly script: (action: string) => Promise<string>;
  /** Ends all of its processes. */
  readonly end: () => void;
}

export async function bootSystem(env: Readonly<Record<string, string>>): Promise<System> {
  const shell = spawn("unshare", [...isolated, "/bin/sh"], {
    env: { ...process.env, ...env, PACKAGE },
    stdio: ["pipe", "pipe", "inherit"],
  });
  let printed = "";
  shell.stdout.setEncoding("utf8").on("data", (text: string) => (printed += text));
  const run = async (command: string): Promise<string> => {
    printed = "";
    shell.stdin.write(`${command}; echo "=$?"\n`);
    await eventually(() => /^=\d+$/m.test(printed), command);
    const [, output = "", status] = /^([^]*)=(\d+)\n$/.exec(printed) ?? [];
    assert.equal(status, "0", `${command}: ${output}`);
    return output;
  };
  const applets = "start-stop-daemon logger mkfifo mkdir chmod rm cut sleep sh";
  const devices = "/dev/null /dev/zero /dev/random /dev/urandom";
  try {
    await run("mount -t tmpfs none /run && mount -t tmpfs none /usr/libexec && mkdir /run/bin");
    await run(
      `cp "$PACKAGE/S95hublink" /run && cp "$PACKAGE"/hublink-supervise "$PACKAGE"/hublink-trial /usr/libexec`,
    );
    await run(`for name in ${applets}; do ln -s "$(command -v busybox)" /run/bin/$name; done`);
    await run("export PATH=/run/bin:$PATH");
    await run(
      `mkdir /run/dev && cp -a ${devices} /run/dev && mount -t tmpfs none /dev && mv /run/dev/* /dev`,
    );
  } catch (error) {
    shell.kill("SIGKILL");
    throw error;
  }
  return {
    run,
    script: async (action) => run(`sh /run/S95hublink ${action}`),
    end: () => void shell.kill("SIGKILL"),
  };
}
