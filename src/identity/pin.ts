/**
 * The PIN of a PKCS#11 token. Tokens lock themselves for good after a few wrong PINs, and an agent that retries
 * all night would use those up by the next morning: a PIN that was refused is not tried again until its file
 * changes.
 */
import { stat } from "node:fs/promises";
import { Failure } from "../platform/failure.ts";
import { readSecretFile } from "./files.ts";

/** Versions of PIN files that were refused, until this process ends. */
const refusedVersions = new Set<string>();

/** A token's PIN as one version of its file has it. */
export class Pin {
  readonly text: string;
  readonly file: string;
  readonly #version: string;

  /** @param version names the token, the file and its content's change */
  private constructor(text: string, file: string, version: string) {
    this.text = text;
    this.file = file;
    this.#version = version;
  }

  /**
   * Reads the PIN of a token.
   * @param token whose PIN it is: another token may accept the same
   * @throws Failure that names the file
   */
  static async read(file: string, token: string): Promise<Pin> {
    const text = await readSecretFile("PIN file", file);
    // It becomes a value in stunnel's and OpenSSL's configurations, which are lines of text.
    if (!/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(text)) {
      throw new Failure(
        "config",
        `PIN file ${file}: expected one line of ASCII, not empty and without blanks at its ends`,
      );
    }
    const { ino, ctimeNs } = await stat(file, { bigint: true });
    return new Pin(text, file, `${token}\n${file}\n${ino}\n${ctimeNs}`);
  }

  /** The token has refused it. */
  get refused(): boolean {
    return refusedVersions.has(this.#version);
  }

  /** Notes that the token has refused it. */
  refuse(): void {
    refusedVersions.add(this.#version);
  }

  /** @throws Failure when the token has refused it before */
  assertUsable(keyOrigin: string): void {
    if (this.refused) throw this.refusal(keyOrigin);
  }

  /** Says that the token has refused it, and when it is tried again. */
  refusal(keyOrigin: string): Failure {
    return new Failure(
      "pin_refused",
      `${keyOrigin}: the token refused the PIN in ${this.file}; it is not tried again until the file changes or hublink starts anew`,
    );
  }
}
