/**
 * A reporter for Node's test runner that writes what its coverage found, as one line of JSON. What failed goes to
 * standard error.
 */
import type { TestEvent } from "node:test/reporters";

export interface FileCoverage {
  readonly path: string;
  readonly lines: { readonly all: number; readonly covered: number };
  readonly branches: {
    readonly all: number;
    readonly covered: number;
    readonly missedAtLines: readonly number[];
  };
}

export default async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const { type, data } of events) {
    if (type === "test:coverage") yield `${JSON.stringify(data.summary.files.map(coverageOf))}\n`;
    if (type !== "test:fail") continue;
    process.exitCode = 1;
    process.stderr.write(`failed: ${data.name}: ${String(data.details.error.cause)}\n`);
  }
}

type Summary = Extract<TestEvent, { type: "test:coverage" }>["data"]["summary"]["files"][number];

function coverageOf(file: Summary): FileCoverage {
  return {
    path: file.path,
    lines: { all: file.totalLineCount, covered: file.coveredLineCount },
    branches: {
      all: file.totalBranchCount,
      covered: file.coveredBranchCount,
      missedAtLines: file.branches.filter(({ count }) => count === 0).map(({ line }) => line),
    },
  };
}
