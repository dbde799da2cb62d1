/**
 * The extension `local_shell`: a shell when the hub requests one, which ends when the extension is detached. It
 * runs what `[console]` says; the hub shows it on a page of its own.
 */
import { constants } from "node:os";
import * as v from "valibot";
import type { Config } from "../config/schema.ts";
import type { Extension, ExtensionContext } from "../extensions/extension.ts";
import { WindowSize } from "../hub/console-messages.ts";
import type { World } from "../platform/world.ts";
import { RemoteShell, type ShellEnd } from "./shell.ts";
import type { TerminalBackend } from "./terminal.ts";

export interface LocalShellOptions {
  readonly config: Config["console"];
  readonly terminalBackend: () => Promise<TerminalBackend>;
  /** True when the hub has read everything that was sent before. */
  readonly confirm: (timeoutMs: number) => Promise<boolean>;
  readonly world: World;
}

const Input = v.object({ data: v.string() });
const Kill = v.object({ signal: v.optional(v.union([v.number(), v.string()])) });

/** The exit code of a shell that was ended and has none: the one that sh reports after SIGTERM. */
const ENDED_EXIT_CODE = 128 + constants.signals.SIGTERM;

export function localShell({ config, terminalBackend, confirm, world }: LocalShellOptions): Extension {
  return {
    name: "local_shell",
    versions: ["0.0.1"],
    start(context) {
      const { log } = context;
      const shell = new RemoteShell({
        config,
        terminalBackend,
        sink: { send: (text) => context.push("shell_output", { data: text }), confirm },
        world,
        log,
      });
      shell.on("started", () => context.push("request_status", { status: "started" }));
      shell.on("ended", (end) => reportEnd(context, end));
      shell.setConnected(true);
      return {
        async onMessage(event, payload) {
          switch (event) {
            case "request_shell":
              shell.start();
              break;
            case "shell_input":
              if (!v.is(Input, payload)) break;
              // The hub requests a shell once; after its end the next one is started by what is typed.
              shell.start();
              shell.type(payload.data);
              break;
            case "window_size": {
              const size = v.safeParse(WindowSize, payload);
              if (size.success) shell.resize(size.output);
              break;
            }
            case "kill_shell": {
              const signal = v.is(Kill, payload) ? survivableSignal(payload.signal) : undefined;
              if (signal === undefined) await shell.end();
              else shell.signal(signal);
              break;
            }
            default:
              log.debug(`ignored ${event}: not known`);
          }
        },
        stop: async () => shell.stop(),
      };
    },
  };
}

function reportEnd(context: ExtensionContext, end: ShellEnd): void {
  if (end.kind === "failed") {
    context.push("request_status", { status: "failed", reason: end.reason });
    return;
  }
  context.push("shell_exited", {
    exit_code: (end.kind === "exited" ? end.exitCode : null) ?? ENDED_EXIT_CODE,
  });
}

/** The signal if it is one that a shell survives; undefined for one that is to end the shell, SIGTERM by default. */
function survivableSignal(given: number | string | undefined): NodeJS.Signals | undefined {
  const signals: readonly NodeJS.Signals[] = [
    "SIGINT",
    "SIGQUIT",
    "SIGTSTP",
    "SIGCONT",
    "SIGUSR1",
    "SIGUSR2",
  ];
  return signals.find(
    (name) => name === given || name === `SIG${given ?? ""}` || constants.signals[name] === given,
  );
}
