/** The table that the benchmark prints. */

/** One thing measured against another. */
export interface Row {
  readonly ratio: number;
  /** A goal for the ratio, if there is one. */
  readonly goal?: { readonly atLeast: number } | { readonly below: number };
  readonly what: string;
  readonly measured: string;
  readonly against: string;
}

/** The table, at most 80 columns wide, ratios first. */
export function renderTable(rows: readonly Row[]): string {
  const lines = [
    ["ratio", "goal", "", "what", "agent", "against"],
    ...rows.map((row) => [
      row.ratio.toFixed(2),
      goalOf(row),
      verdictOf(row),
      row.what,
      row.measured,
      row.against,
    ]),
  ];
  const widths = lines.reduce<number[]>(
    (widest, cells) => cells.map((cell, column) => Math.max(cell.length, widest[column] ?? 0)),
    [],
  );
  return lines
    .map((cells) =>
      cells
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

function goalOf({ goal }: Row): string {
  if (goal === undefined) return "";
  return "atLeast" in goal ? `>=${goal.atLeast.toFixed(2)}` : `<${goal.below.toFixed(2)}`;
}

function verdictOf({ goal, ratio }: Row): string {
  if (goal === undefined) return "";
  return ("atLeast" in goal ? ratio >= goal.atLeast : ratio < goal.below) ? "yes" : "NO";
}
