import { Failure } from "../platform/failure.ts";

/** Everything that is wrong with the configuration; no line shows a secret. */
export class ConfigFailure extends Failure {
  /** One line for each mistake. */
  readonly problems: readonly string[];
  readonly source: string;

  /** @param source what the mistakes are in, such as the file's path */
  constructor(source: string, problems: readonly string[], options?: ErrorOptions) {
    super("config", `${source}: ${problems.join("; ")}`, options);
    this.name = "ConfigFailure";
    this.problems = problems;
    this.source = source;
  }
}
