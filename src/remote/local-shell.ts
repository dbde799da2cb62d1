import { constants } from "node:os";
import * as v from "valibot";
import type { Extension } from "../extensions/extension.ts";
import { WindowSize } from "../hub/console-messages.ts";
import type { Clock } from "../platform/clock.ts";
import { createRemoteShell, type ShellConfig, type ShellEnd } from "./shell.ts";
import type { TerminalWay } from "./terminal.ts";

export interface LocalShellOptions {
  /** `[console]`; what runs is the same. */
  readonly config: ShellConfig;
  readonly way: () => Promise<TerminalWay>;
  /** True when the hub has read all that was sent before. */
  readonly confirm: (timeoutMs: number) => Promise<boolean>;
  readonly clock: Clock;
}

const Input = v.object({ data: v.string() });
const Kill = v.object({ signal: v.optional(v.union([v.number(), v.string()])) });

/** What the hub hears of a shell that was ended and has no exit code: as sh says it of one ended by SIGTERM. */
const ENDED_EXIT_CODE = 128 + constants.signals.SIGTERM;

/** The extension `local_shell`: a shell when the hub requests one, ended with its attachment. */
export function localShell({ config, way, confirm, clock }: LocalShellOptions): Extension {
  return {
    name: "local_shell",
    version: "0.0.1",
    start(context) {
      const { log } = context;
      const tellEnd = (end: ShellEnd): void => {
        if (end.kind === "failed") {
          context.push("request_status", { status: "failed", reason: end.reason });
          return;
        }
        context.push("shell_exited", {
          exit_code: (end.kind === "exited" ? end.exitCode : null) ?? ENDED_EXIT_CODE,
        });
      };
      const shell = createRemoteShell({
        config,
        way,
        sink: { send: (text) => context.push("shell_output", { data: text }), confirm },
        onStarted: () => context.push("request_status", { status: "started" }),
        onEnded: tellEnd,
        clock,
        log,
      });
      shell.setConnected(true);
      return {
        async onMessage(event, payload) {
          switch (event) {
            case "request_shell":
              shell.start();
              break;
            case "shell_input":
              if (v.is(Input, payload)) shell.type(payload.data);
              break;
            case "window_size": {
              const size = v.safeParse(WindowSize, payload);
              if (size.success) shell.resize(size.output);
              break;
            }
            case "kill_shell": {
              const signal = v.is(Kill, payload) ? signalOf(payload.signal) : undefined;
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

/** Those that a shell is there to survive; undefined for those that are to end it, SIGTERM by default. */
function signalOf(given: number | string | undefined): NodeJS.Signals | undefined {
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
