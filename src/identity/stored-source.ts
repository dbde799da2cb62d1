import { Failure } from "../platform/failure.ts";
import { parseCertificates } from "./certificate.ts";
import type { CredentialSource } from "./credential-source.ts";
import { parsePrivateKey } from "./private-key.ts";
import { decodeStored } from "./stored-credential.ts";

/** `[identity.env]`, `[identity.uboot_env]`: names of variables. */
export interface VariableConfig {
  readonly cert: string;
  readonly key: string;
}

/**
 * Certificate and key in variables.
 * @param kind whose variables: `environment` or `U-Boot`
 * @param read the value of one, as it is now
 */
export function variableSource(
  kind: "environment" | "U-Boot",
  config: VariableConfig,
  read: (name: string) => Promise<string | undefined>,
): CredentialSource {
  const stored = async (what: "certificate" | "key", name: string): Promise<Buffer> => {
    const value = (await read(name)) ?? "";
    if (value === "") throw new Failure("no-input", `${what}: the ${kind} variable ${name} is not set`);
    return decodeStored(value, `${what}: the ${kind} variable ${name}`);
  };
  return {
    name: `${kind} variable ${config.key}`,
    files: [],
    async certificate() {
      const origin = `${kind} variable ${config.cert}`;
      return { chain: parseCertificates(await stored("certificate", config.cert), origin), origin };
    },
    async key() {
      const origin = `${kind} variable ${config.key}`;
      const key = parsePrivateKey(await stored("key", config.key), origin);
      return { kind: "readable", origin: `key ${origin}`, key };
    },
  };
}
