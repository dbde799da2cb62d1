/**
 * docs/figures.md, from the result files in docs/figures. Each command that measures adds lines to its file
 * (`--record`); no figure is written by hand.
 */
import { join } from "node:path";
import { readHerd } from "../test/bench/herd-results.ts";
import { readSoaks } from "../test/soak/results.ts";
import { WRONGS } from "../test/torture/checks.ts";
import { KINDS } from "../test/torture/plan.ts";
import { readResults } from "../test/torture/results.ts";

const FOLDER = join(import.meta.dirname, "../docs/figures");
const INTRODUCTION = `# Figures

<!-- Written by scripts/figures.ts from the files in docs/figures; \`npm run docs\` renews it. -->

Every figure here was measured, and is made from a result file in [docs/figures](figures), which names the commit of
each run. A "+" behind a commit stands for changes that were not committed.
`;

type Runs = ReturnType<typeof readResults>;

/** The text of docs/figures.md. @throws v.ValiError for a result file with a line of another form */
export function figures(): string {
  const runs = readResults(join(FOLDER, "torture.jsonl"));
  const parts = [
    INTRODUCTION,
    tortureText(runs),
    herdText(readHerd(join(FOLDER, "herd.jsonl"))),
    soakText(readSoaks(join(FOLDER, "soak.jsonl"))),
  ];
  return parts.filter((part) => part !== "").join("\n");
}

function tortureText(runs: Runs): string {
  if (runs.length === 0) return "";
  const versions = [...new Set(runs.map(({ fwup }) => fwup))].sort((a, b) =>
    b.localeCompare(a, "en", { numeric: true }),
  );
  return `## Updates that are disturbed

\`npm run torture\` updates boards while their power, network and disk fail
([architecture.md](architecture.md#tests)). A bad boot is a board that does not boot, or boots the wrong
firmware; wrong bytes are a slot with other bytes than were sent; "not done" is an update that was lost: the board could
have installed it, and does not run it at the end; "waiting" is an update whose end the hub did not hear; "misled" is a
hub that got a report that is not true; "left behind" are files on the board that grow, or say something that is not true. Explained rounds went wrong for a reason that the agent can't prevent. An agent that hung was reset by its
board's watchdog. Of the kinds, \`transfer\` is the one that measures bytes per needed byte: a long download to the cache
that is interrupted 20 times (goal: 1.05).

${versions
  .map((version) =>
    versionText(
      version,
      runs.filter(({ fwup }) => fwup === version),
    ),
  )
  .join("\n")}`;
}

function versionText(version: string, runs: Runs): string {
  const kinds = KINDS.filter((kind) => runs.some((run) => run.kind === kind));
  const row = (name: string, part: Runs): string[] => [
    name,
    count(sum(part, ({ rounds }) => rounds)),
    count(sum(part, ({ powerCuts }) => powerCuts)),
    count(sum(part, ({ hung }) => hung)),
    ...WRONGS.map((wrong) => count(sum(part, (run) => run.wrong[wrong]))),
    count(
      sum(part, ({ explained }) => Object.values(explained).reduce((total, rounds) => total + rounds, 0)),
    ),
    (sum(part, ({ sentBytes }) => sentBytes) / sum(part, ({ neededBytes }) => neededBytes)).toFixed(3),
  ];
  const faults = totals(runs.map((run) => run.faults));
  const explained = totals(runs.map((run) => run.explained));
  const seeds = [...new Set(runs.map(({ seed }) => seed))].sort((a, b) => a - b);
  const wrongSeeds = [...new Set(runs.flatMap((run) => run.wrongSeeds))];
  return `### With ${version === "stand-in" ? "the stand-in for fwup" : `fwup ${version}`}

Seeds of the runs: ${seeds.join(", ")}. Commits: ${commits(runs)}. ${
    wrongSeeds.length === 0
      ? "Nothing went wrong that is not explained."
      : `Rounds in which something went wrong: ${wrongSeeds.join(", ")}.`
  }

${table(
  ["", "rounds", "power cuts", "hung", ...WRONGS, "explained", "bytes per needed byte"],
  [
    ...kinds.map((kind) =>
      row(
        kind,
        runs.filter((run) => run.kind === kind),
      ),
    ),
    row("all", runs),
  ],
)}
${table(["fault", "rounds"], faults)}${explained.length === 0 ? "" : `\n${table(["explained by", "rounds"], explained)}`}`;
}

function herdText(all: ReturnType<typeof readHerd>): string {
  const last = all.at(-1);
  if (last === undefined) return "";
  const rows = all
    .filter(({ date }) => date === last.date)
    .map(({ scenario, peak, mean, awayS, mostBackS }) => [
      scenario,
      `${count(peak)}/s`,
      `${count(mean)}/s`,
      (peak / mean).toFixed(2),
      `${awayS.toFixed(1)} s`,
      `${count(mostBackS)} s`,
    ]);
  return `## A fleet that loses its hub

\`npm run bench -- herd\`: ${count(last.boards)} boards, each with the agent's own code on a simulated clock, lose their
connections at the same moment. The mean is that of the time in which 99 % of the boards come back, 30 s at least; the goal
is a busiest second of at most twice the mean. Times count from when the hub is there again. Commit: ${commits([last])}.

${table(["the hub", "busiest second", "mean", "ratio", "away on average", "99 % are back after"], rows)}`;
}

function soakText(soaks: ReturnType<typeof readSoaks>): string {
  const last = soaks.at(-1);
  if (last === undefined) return "";
  const activities = Object.entries(last.counts).map(([name, times]) => `${count(times)} ${name}`);
  const rows = soaks.map((soak) => [
    code(soak.commit),
    String(soak.minutes),
    String(soak.seed),
    ...[soak.joinedMib, soak.warmMib, soak.peakMib, soak.endMib].map((mib) => `${mib.toFixed(1)} MiB`),
    `${soak.growthMib.toFixed(1)} MiB`,
    `${soak.slopeKibMin.toFixed(0)} KiB/min`,
  ]);
  return `## The agent's memory in a busy life

\`npm run soak\`: the bundle in a process of its own on Node ${last.node.slice(1)} (${last.arch}). The last one had
${count(last.connections)} connections to the hub, and these activities: ${activities.join(", ")}. Memory is RSS, pages of
the executable included: when the agent had joined, when everything had happened once (warm), at most, and in the last
tenth of the time. The growth counts from warm to end, and may be 15 MiB; the slope is that of the second half.

${table(["commit", "minutes", "seed", "joined", "warm", "peak", "end", "growth", "slope"], rows)}`;
}

function totals(counts: readonly Readonly<Record<string, number>>[]): string[][] {
  const all = new Map<string, number>();
  for (const [name, times] of counts.flatMap((one) => Object.entries(one)))
    all.set(name, (all.get(name) ?? 0) + times);
  return [...all]
    .sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]))
    .map(([name, times]) => [name, count(times)]);
}

function sum<T>(parts: readonly T[], of: (part: T) => number): number {
  return parts.reduce((total, part) => total + of(part), 0);
}

function commits(runs: readonly { readonly commit: string }[]): string {
  return [...new Set(runs.map(({ commit }) => code(commit)))].join(", ");
}

function code(text: string): string {
  return `\`${text}\``;
}

/** A whole number with commas. */
function count(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |\n`;
  return (
    line(head) + line(head.map((_, column) => (column === 0 ? "---" : "---:"))) + rows.map(line).join("")
  );
}
