import { Failure } from "../platform/failure.ts";

/**
 * The bytes of a certificate or key kept as one line of text, as in a variable: PEM, also with its line
 * breaks lost or written as `\n`; base64 of such PEM; base64 of DER.
 * @param name what it is to the user, such as `certificate variable DEVICE_CERT`
 * @throws Failure `no-input` when it is none of them
 */
export function decodeStored(text: string, name: string): Buffer {
  if (text.includes("-----BEGIN")) return Buffer.from(withLineBreaks(text));
  const base64 = text.replace(/\s+/g, "");
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) {
    throw new Failure("no-input", `${name} holds neither PEM nor base64`);
  }
  const bytes = Buffer.from(base64, "base64");
  return bytes.includes("-----BEGIN") ? Buffer.from(withLineBreaks(bytes.toString("latin1"))) : bytes;
}

/** OpenSSL takes PEM only in lines. */
function withLineBreaks(pem: string): string {
  return pem
    .replaceAll("\\n", "\n")
    .replace(
      /-----BEGIN ([A-Z0-9 ]+)-----([\s\S]*?)-----END \1-----/g,
      (block, label: string, body: string) => {
        if (body.includes(":")) return block; // headers, whose lines can't be told apart once they are lost
        const lines = body.replace(/\s+/g, "").match(/.{1,64}/g) ?? [];
        return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ""].join("\n");
      },
    );
}
