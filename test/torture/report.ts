/** The tables that a run prints. */
import type { Kind } from "./plan.ts";
import type { Wrong } from "./checks.ts";
import type { Outcome } from "./round.ts";

/** A round that was played. */
export interface Played {
  readonly kind: Kind;
  readonly seed: number;
  readonly plan: string;
  /** The names of what failed in it. */
  readonly faults: readonly string[];
  readonly outcome: Outcome;
}

const WRONGS: readonly Wrong[] = ["bad boot", "wrong bytes", "not done", "waiting", "misled"];

/** The table at the end of a run, at most 80 columns wide. */
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
  const faults = new Map<string, number>();
  for (const name of played.flatMap((round) => [...new Set(round.faults)]))
    faults.set(name, (faults.get(name) ?? 0) + 1);
  const counts = [...faults].sort((a, b) => b[1] - a[1]).map(([name, count]) => [String(count), name]);
  return `${columns(rows)}\n${paidOf(played)}\n${columns([["rounds", "with"], ...counts])}\n`;
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
