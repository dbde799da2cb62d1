import { stat } from "node:fs/promises";
import { readSecretFile } from "./owner-only.ts";
import { Failure } from "../platform/failure.ts";

/** A token's PIN, which is tried once: tokens lock for good after a few wrong ones. */
export interface Pin {
  readonly text: string;
  readonly file: string;
  /** The token has refused it. */
  readonly refused: boolean;
  /** Notes that the token has refused it. */
  refuse(): void;
}

/** Versions of PIN files that were refused, until this process ends. */
const refused = new Set<string>();

/**
 * Reads the PIN of a token.
 * @param token whose PIN it is: another token may take the same
 * @throws Failure that names the file
 */
export async function readPin(file: string, token: string): Promise<Pin> {
  const text = await readSecretFile(file, "PIN file");
  // It becomes a value in stunnel's and OpenSSL's configurations, which are lines of text.
  if (!/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(text)) {
    throw new Failure(
      "config",
      `PIN file ${file}: expected one line of ASCII, not empty and without blanks at its ends`,
    );
  }
  const { ino, ctimeNs } = await stat(file, { bigint: true });
  const version = `${token}\n${file}\n${ino}\n${ctimeNs}`;
  return {
    text,
    file,
    get refused() {
      return refused.has(version);
    },
    refuse: () => void refused.add(version),
  };
}

/** Says that a PIN is not tried again. */
export function pinRefused(origin: string, { file }: Pin): Failure {
  return new Failure(
    "config",
    `${origin}: the token refused the PIN in ${file}; it is not tried again until the file changes or hublink starts anew`,
  );
}
