/** One `-----BEGIN label-----` … `-----END label-----` of a PEM file. */
export interface PemBlock {
  readonly label: string;
  /** The block as it stands in the file, its header and footer included. */
  readonly text: string;
}

/** The PEM blocks of a file in their order; none when it is not PEM. */
export function pemBlocks(content: Uint8Array): PemBlock[] {
  const text = Buffer.from(content).toString("latin1");
  const blocks = text.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----[\s\S]*?-----END \1-----/g);
  return [...blocks].map(([block, label = ""]) => ({ label, text: `${block}\n` }));
}

/** What PEM blocks hold, for an error message: `; it holds a PRIVATE KEY`. */
export function heldInstead(blocks: readonly PemBlock[]): string {
  return blocks.length === 0 ? "" : `; it holds: ${blocks.map((block) => block.label).join(", ")}`;
}
