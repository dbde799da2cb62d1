/** One half of a VCDIFF instruction code. */
export interface Instruction {
  readonly type: "add" | "run" | "copy";
  /** In bytes; 0 when it is given beside the code. */
  readonly size: number;
  /** How a copy's address is written. */
  readonly mode: number;
}

const MODES = 9;

/** The default code table of RFC 3284, section 5.6: one or two instructions for each of the 256 codes. */
export function instructionTable(): readonly (readonly Instruction[])[] {
  const add = (size: number): Instruction => ({ type: "add", size, mode: 0 });
  const copy = (size: number, mode: number): Instruction => ({ type: "copy", size, mode });
  const table: Instruction[][] = [[{ type: "run", size: 0, mode: 0 }]];
  for (let size = 0; size <= 17; size++) table.push([add(size)]);
  for (let mode = 0; mode < MODES; mode++) {
    table.push([copy(0, mode)]);
    for (let size = 4; size <= 18; size++) table.push([copy(size, mode)]);
  }
  for (let mode = 0; mode < 6; mode++)
    for (let added = 1; added <= 4; added++)
      for (let copied = 4; copied <= 6; copied++) table.push([add(added), copy(copied, mode)]);
  for (let mode = 6; mode < MODES; mode++)
    for (let added = 1; added <= 4; added++) table.push([add(added), copy(4, mode)]);
  for (let mode = 0; mode < MODES; mode++) table.push([copy(4, mode), add(1)]);
  return table;
}
