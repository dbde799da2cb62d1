/**
 * Everybody who has a say in an update, asked in the order of cost: the board's own rules (decide.ts), the operator's
 * `update.policy_command`, the application. Somebody at the board who applies a file has decided already, so only the
 * rules for safety are asked then. A policy command that hangs or is killed puts the update off, so that a broken
 * script never installs anything.
 */
import type { Config } from "../config/schema.ts";
import type { BoardFirmware } from "../firmware/board-firmware.ts";
import type { FirmwareMetadata } from "../firmware/metadata.ts";
import type { World } from "../platform/world.ts";
import { type Application, updateQuestion, type UpdateQuestion } from "./application.ts";
import { type Announcement, decide, type Decision, whyForeign, whyUnwanted } from "./decide.ts";
import type { UpdateHistory } from "./history.ts";
import type { Offer } from "./offers.ts";
import { SOON_MS } from "./outcome.ts";
import { untilWindowMs } from "./windows.ts";

export interface ApprovalOptions {
  readonly config: Pick<Config, "app" | "update">;
  readonly firmware: BoardFirmware;
  readonly history: UpdateHistory;
  readonly application: Application;
  /** Whether the running firmware still has to be proven good, and how to read it and the slots again. */
  readonly validation: { readonly pending: boolean; refresh(): Promise<void> };
  readonly rebooter: { readonly rebooting: boolean };
  /** The reboot into an installed update; undefined when there is none. */
  readonly rebootIntoUpdate: { readonly pending: unknown };
  /** Has the wall-clock time as the hub has it, ms since 1970: the board's own clock may be wrong. */
  readonly link: { hubTimeMs(): number };
  readonly world: World;
}

/** Decides whether, and when, an offer is installed. */
export class Approval {
  readonly #options: ApprovalOptions;

  constructor(options: ApprovalOptions) {
    this.#options = options;
  }

  /** @throws Failure when nothing can be installed or the command can't be run; the signal's reason */
  async decide(offer: Offer, signal: AbortSignal): Promise<Decision> {
    const { config, firmware, validation, application } = this.#options;
    const ruling = await this.mayAsk(offer, signal);
    if (ruling.action !== "apply" || offer.origin === "local") return ruling;
    if (config.app.update === "ask") {
      const decision = await application.mayUpdate(updateQuestion(offer, firmware.running), signal);
      if (decision.action !== "apply") return decision;
    }
    await validation.refresh(); // the answers took their time, in which the situation may have changed
    return this.#rule(offer);
  }

  /**
   * Whether the board's rules and its policy command want an update that the hub has announced.
   * @throws Failure see {@link decide}
   */
  async mayAsk(offer: Announcement, signal: AbortSignal): Promise<Decision> {
    const { config, firmware, history, validation, world } = this.#options;
    await validation.refresh();
    await history.noteFallBack(firmware.fellBackFrom); // a slot that was read late may tell of one
    const ruling = this.#rule(offer);
    const { policyCommand } = config.update;
    if (ruling.action !== "apply" || offer.origin === "local" || policyCommand === "") return ruling;
    return await askPolicyCommand(policyCommand, updateQuestion(offer, firmware.running), world, signal);
  }

  /**
   * Judges the file itself, once its metadata is read: what was announced of it may be wrong.
   * @throws Failure see {@link whyUnwanted} and {@link whyForeign}
   */
  judge(offer: Offer, metadata: FirmwareMetadata): void {
    const { config, firmware } = this.#options;
    const { allowDowngrade } = config.update;
    const unwanted = offer.origin === "hub" ? whyUnwanted(metadata, { firmware, allowDowngrade }) : undefined;
    const refusal = unwanted ?? whyForeign(offer, metadata, firmware.running);
    if (refusal !== undefined) throw refusal;
  }

  #rule(offer: Announcement): Decision {
    const { config, firmware, history, validation, rebooter, rebootIntoUpdate, link, world } = this.#options;
    return decide(offer, {
      firmware,
      pendingValidation: validation.pending,
      rebooting: rebooter.rebooting,
      rebootPending: rebootIntoUpdate.pending !== undefined,
      allowDowngrade: config.update.allowDowngrade,
      backOff: (uuid) => history.backOff(uuid),
      untilWindowMs: untilWindowMs(config.update.window, link.hubTimeMs(), world.random()),
    });
  }
}

const POLICY_TIMEOUT_MS = 60_000;
const EX_TEMPFAIL = 75;
const MINUTE_MS = 60_000;
const MAX_MINUTES = 7 * 24 * 60;
const MAX_REASON_CHARACTERS = 200;

/**
 * Runs the command with the update as JSON on its standard input.
 * @param command line for the shell
 * @param signal kills it
 * @throws Failure when it can't be started; the signal's reason
 */
export async function askPolicyCommand(
  command: string,
  question: UpdateQuestion,
  { clock, run }: World,
  signal: AbortSignal,
): Promise<Decision> {
  const { exitCode, stdout, stderr, timedOut } = await run(command, {
    clock,
    timeoutMs: POLICY_TIMEOUT_MS,
    stdin: `${JSON.stringify(question)}\n`,
    signal,
  });
  signal.throwIfAborted();
  if (exitCode === 0) return { action: "apply" };
  if (timedOut || exitCode === null) {
    const what = timedOut ? `gave no answer in ${POLICY_TIMEOUT_MS / 1000} s` : "was killed";
    return { action: "reschedule", delayMs: SOON_MS, reason: `update.policy_command ${what}` };
  }
  if (exitCode !== EX_TEMPFAIL) {
    const reason = oneLine(stdout) || oneLine(stderr) || `update.policy_command ended with ${exitCode}`;
    return { action: "ignore", reason };
  }
  const [first = "", ...rest] = stdout.trim().split("\n");
  const minutes = /^\d{1,6}$/.test(first.trim()) ? Number(first) : undefined;
  // Without a number the whole output is the reason, so that a person sees the mistake.
  const words = minutes === undefined ? stdout : rest.join("\n");
  return {
    action: "reschedule",
    delayMs: minutes === undefined ? SOON_MS : Math.min(Math.max(minutes, 1), MAX_MINUTES) * MINUTE_MS,
    reason: oneLine(words) || "update.policy_command says later",
  };
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim().slice(0, MAX_REASON_CHARACTERS);
}
