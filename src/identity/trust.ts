/**
 * Which servers the board trusts: the configured CA file alone, else the system's store, else the one built into Node.
 * A configured file that can't be read never falls back to the others: that would trust strangers. A CA of one's own
 * for the hub says nothing about the object store that the hub's URLs lead to, so downloads trust the system as well.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import { systemCode } from "../platform/failure.ts";
import type { World } from "../platform/world.ts";
import { parseCertificates, pemBlocks } from "./certificate.ts";
import { readPublicFile } from "./files.ts";

/** The CA certificates that a server's certificate is verified with. */
export interface Trust {
  /** PEM. */
  readonly ca: readonly string[];
  /** Where they come from: a path, or `built-in`. */
  readonly source: string;
}

/** Where distributions keep them: Go's list, crypto/x509/root_linux.go. */
const SYSTEM_STORES = [
  "etc/ssl/certs/ca-certificates.crt", // Debian, Buildroot, Alpine
  "etc/pki/tls/certs/ca-bundle.crt", // Fedora
  "etc/ssl/ca-bundle.pem", // OpenSUSE
  "etc/pki/tls/cacert.pem", // OpenELEC
  "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // CentOS
  "etc/ssl/cert.pem", // Alpine
];

/**
 * Whom to trust as a hub.
 * @param caFile `hub.ca_file`, PEM or DER; empty for the system's store, then the one built into Node
 * @throws Failure when `caFile` can't be read or holds no certificate
 */
export async function loadTrust(caFile: string, { root }: World): Promise<Trust> {
  if (caFile !== "") {
    const certificates = parseCertificates(await readPublicFile("CA", caFile), caFile);
    return { ca: certificates.map((certificate) => certificate.toString()), source: caFile };
  }
  for (const path of SYSTEM_STORES.map((store) => join(root, store))) {
    const ca = await storedCertificates(path);
    if (ca.length > 0) return { ca, source: path };
  }
  return { ca: rootCertificates, source: "built-in" };
}

/**
 * Whom to trust as a server of firmware.
 * @param caFile `firmware.ca_file`; empty for all that {@link loadTrust} trusts by default, and `hubCaFile`
 * @param hubCaFile `hub.ca_file`
 * @throws Failure when a file that is configured can't be read or holds no certificate
 */
export async function loadDownloadTrust(caFile: string, hubCaFile: string, world: World): Promise<Trust> {
  const trust = await loadTrust(caFile, world);
  if (caFile !== "" || hubCaFile === "") return trust;
  const own = await loadTrust(hubCaFile, world);
  return { ca: [...own.ca, ...trust.ca], source: `${own.source} and ${trust.source}` };
}

/** Not parsed here: a Pi Zero needs seconds for it, and OpenSSL parses them again anyway. */
async function storedCertificates(path: string): Promise<string[]> {
  try {
    const blocks = pemBlocks(await readFile(path));
    return blocks.filter((block) => block.label === "CERTIFICATE").map((block) => block.text);
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return []; // missing or unreadable: the next store is tried
  }
}
