/** A reporter for Node's test runner that writes lines of JSON, from which scripts/test counts. */
import type { TestEvent } from "node:test/reporters";

/** One line of the output. A suite has lines only for its start and its own failure, such as that of a hook. */
export interface TestLine {
  readonly is: "started" | "passed" | "failed" | "skipped";
  readonly name: string;
}

export default async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of events) {
    const line = lineOf(event);
    if (line !== undefined) yield `${JSON.stringify(line)}\n`;
  }
}

function lineOf({ type, data }: TestEvent): TestLine | undefined {
  switch (type) {
    case "test:dequeue":
      return { is: "started", name: data.name };
    case "test:pass":
      return data.details.type === "suite"
        ? undefined
        : { is: isSkipped(data) ? "skipped" : "passed", name: data.name };
    case "test:fail":
      if (data.details.type === "suite" && failedByItsTests(data.details.error)) return undefined;
      return { is: isSkipped(data) ? "skipped" : "failed", name: data.name };
    default:
      return undefined;
  }
}

function isSkipped({ skip, todo }: { skip?: string | boolean; todo?: string | boolean }): boolean {
  return skip !== undefined || todo !== undefined;
}

/** Node names the reason so (test_runner/test.js), which its types leave out. */
function failedByItsTests(error: object): boolean {
  return "failureType" in error && error.failureType === "subtestsFailed";
}
