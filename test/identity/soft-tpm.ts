/** A TPM 2.0 in software (swtpm). */
import { spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { eventually, inTime } from "../eventually.ts";
import { missing } from "./openssl.ts";

/** Debian 12's tpm2-openssl signs, but not for TLS; a folder with the tpm2.so of 1.3.0 or later goes here. */
const MODULES = process.env["HUBLINK_TEST_TPM_MODULES"];

/** Why tests with a TPM are skipped; false when they run. */
export const tpmMissing = missing("swtpm", "openssl");
/** Why tests that do TLS with a TPM are skipped; false when they run. */
export const tpmForTlsMissing =
  MODULES === undefined
    ? "needs tpm2-openssl 1.3.0 (HUBLINK_TEST_TPM_MODULES)"
    : missing("swtpm", "openssl", "stunnel");

/** A TPM 2.0 in software. */
export interface SoftTpm {
  /** How programs reach it. */
  readonly tcti: string;
  stop(): Promise<void>;
}

/** Ports from here on, below those that the system gives to others who ask for a free one. */
const FIRST_PORT = 20_000;
const PAIRS = 6000;
const ATTEMPTS = 10;

/** Starts a new TPM; children find the provider that the tests are to use. */
export async function startSoftTpm(folder: string): Promise<SoftTpm> {
  if (MODULES !== undefined) process.env["OPENSSL_MODULES"] = MODULES;
  const state = join(folder, "tpm");
  await mkdir(state, { recursive: true });
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const port = FIRST_PORT + 2 * randomInt(PAIRS);
    const tpm = await startOn(port, state);
    if (tpm !== undefined) return tpm;
  }
  throw new Error(`swtpm ended at its start, on each of ${ATTEMPTS} ports`);
}

/** @returns undefined when it ended, as it does when another program has the port */
async function startOn(port: number, state: string): Promise<SoftTpm | undefined> {
  const child = spawn(
    "swtpm",
    [
      ...["socket", "--tpm2", "--tpmstate", `dir=${state}`, "--flags", "not-need-init,startup-clear"],
      ...["--server", `type=tcp,port=${port}`, "--ctrl", `type=tcp,port=${port + 1}`], // as its TCTI expects
    ],
    { stdio: "ignore" },
  );
  const ended = once(child, "close");
  const hasEnded = (): boolean => child.exitCode !== null;
  await eventually(async () => hasEnded() || (await answers(port + 1)), "swtpm listens");
  if (hasEnded()) return undefined;
  return {
    tcti: `swtpm:host=127.0.0.1,port=${port}`,
    async stop() {
      child.kill("SIGKILL");
      await inTime(ended, "the end of swtpm");
    },
  };
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await inTime(once(socket, "connect"), "swtpm accepts or refuses a connection");
    return true;
  } catch {
    return false; // not yet
  } finally {
    socket.destroy();
  }
}
