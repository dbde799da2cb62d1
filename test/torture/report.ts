/** The tables that a run prints. */
import { WRONGS } from "./checks.ts";
import { counted } from "./results.ts";
import type { Outcome, Played } from "./round.ts";

/** The tables at the end of a run. */
export function renderReport(played: readonly Played[]): string {
  const kinds = [...new Set(played.map(({ kind }) => kind))];
  const rows = [
    ["", "rounds", "cuts", "hung", ...WRONGS],
    ...kinds.map((kind) =>
      summaryOf(
        kind,
        played.filter((round) => round.kind === kind),
      ),
    ),
    summaryOf("all", played),
    ["goal", "", "", "0", ...WRONGS.map(() => "0")],
  ];
  const faults = counts(played.flatMap((round) => [...new Set(round.faults)]));
  const explained = counts(played.flatMap(({ outcome }) => [...new Set(outcome.explained)]));
  return [
    columns(rows),
    paidOf(played),
    columns([["rounds", "with"], ...faults]),
    ...(explained.length === 0 ? [] : ["", columns([["rounds", "explained"], ...explained])]),
    "",
  ].join("\n");
}

function counts(names: readonly string[]): string[][] {
  return Object.entries(counted(names)).map(([name, count]) => [String(count), name]);
}

function summaryOf(name: string, played: readonly Played[]): string[] {
  const sum = (of: (outcome: Outcome) => number): string =>
    String(played.reduce((total, { outcome }) => total + of(outcome), 0));
  const rounds = WRONGS.map((wrong) =>
    sum(({ problems }) => (problems.some((problem) => problem.wrong === wrong) ? 1 : 0)),
  );
  return [name, String(played.length), sum(({ cuts }) => cuts), sum(({ hung }) => hung.length), ...rounds];
}

/** How many bytes long downloads took with their interruptions; empty when there were none. */
function paidOf(played: readonly Played[]): string {
  const long = played.filter(({ kind }) => kind === "transfer").map(({ outcome }) => outcome);
  if (long.length === 0) return "";
  const total = (of: (outcome: Outcome) => number): number =>
    long.reduce((sum, outcome) => sum + of(outcome), 0);
  const ratio = total(({ sentBytes }) => sentBytes) / total(({ neededBytes }) => neededBytes);
  return `\n${ratio.toFixed(3)} bytes downloaded per byte needed, in cache mode under 20 cuts (goal: 1.05)\n`;
}

/** Aligns numbers to the right and words to the left. */
function columns(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, column) =>
          /^\d+$/.test(cell) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
        )
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
