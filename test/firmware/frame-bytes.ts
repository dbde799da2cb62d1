/** A frame of fwup's stdout: its type, its code (a percentage for PR) and its text. */
export type SaidFrame = readonly [type: string, code: number, text: string];

/** The bytes of a frame as fwup writes them. */
export function frameBytes([type, code, text]: SaidFrame): Buffer {
  const payload = Buffer.concat([Buffer.from(type, "latin1"), Buffer.alloc(2), Buffer.from(text)]);
  payload.writeUInt16BE(code, 2);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(payload.length);
  return Buffer.concat([length, payload]);
}
