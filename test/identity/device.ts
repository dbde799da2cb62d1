/** A folder with a device's credentials, for tests of the identity. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Config } from "../../src/config/schema.ts";
import type { Identity, IdentityDeps } from "../../src/identity/identity.ts";
import { loadIdentity } from "../../src/identity/load.ts";
import { recordingLog } from "../board/recording-log.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { testWorld } from "../platform/world.ts";

/** A folder with a device's credentials, and what the agent says when it loads them. */
export interface Device extends AsyncDisposable {
  readonly certFile: string;
  readonly keyFile: string;
  readonly passphraseFile: string;
  readonly secretFile: string;
  readonly clock: FakeClock;
  /** The lines of the log. */
  readonly lines: string[];
  readonly deps: IdentityDeps;
  /** Its root folder, too. */
  readonly folder: string;
  /** The agent's environment. */
  readonly env: Map<string, string>;
  /** Its U-Boot environment. */
  readonly variables: Map<string, string>;
  /** Writes a file with mode 600. */
  write(path: string, content: string | Uint8Array): Promise<void>;
  /** Loads the identity from the certificate and key file, with the given changes. */
  load(change?: Partial<Config["identity"]>, file?: Partial<Config["identity"]["file"]>): Promise<Identity>;
}

export async function createDevice(): Promise<Device> {
  const folder = await mkdtemp(join(tmpdir(), "hublink-identity-"));
  await mkdir(join(folder, "etc"));
  await writeFile(join(folder, "etc/machine-id"), "serial-1\n");
  const clock = new FakeClock(Date.now());
  const lines: string[] = [];
  const variables = new Map<string, string>();
  const env = new Map<string, string>();
  const deps: IdentityDeps = {
    world: testWorld({ clock, root: folder }),
    log: recordingLog(lines),
    takeVariable: (name) => env.get(name),
    ubootVariables: async () => Promise.resolve(variables),
  };
  const certFile = join(folder, "cert");
  const keyFile = join(folder, "key");
  const secretFile = join(folder, "secret");
  return {
    certFile,
    keyFile,
    passphraseFile: join(folder, "passphrase"),
    secretFile,
    clock,
    lines,
    deps,
    variables,
    env,
    folder,
    write: async (path, content) => writeFile(path, content, { mode: 0o600 }),
    load: async (change = {}, file = {}) =>
      loadIdentity(
        {
          source: "file",
          identifier: "",
          file: { certFile: certFile, keyFile: keyFile, keyPassphraseFile: "", ...file },
          tls: "auto",
          env: { cert: "DEVICE_CERT", key: "DEVICE_KEY" },
          ubootEnv: { cert: "nerves_hub_cert", key: "nerves_hub_key" },
          pkcs11: { module: "", uri: "", pinFile: "", certFile: certFile },
          tpm2: { key: keyFile, certFile: certFile, tcti: "device:/dev/tpmrm0" },
          rpiOtp: { certFile: certFile },
          sharedSecret: { key: "nhp_abc", secretFile: secretFile },
          ...change,
        },
        deps,
      ),
    [Symbol.asyncDispose]: async () => rm(folder, { recursive: true }),
  };
}
