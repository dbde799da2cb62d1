/** The story of a scenario: its steps with their times, on the terminal and in a file. */
import { appendFileSync, writeFileSync } from "node:fs";

/** Prints what happens in a scenario, with times, and writes it to a file. */
export interface Story {
  readonly say: (text: string) => void;
  /** Time since the story began, in ms. */
  elapsedMs(): number;
}

export function beginStory(path: string): Story {
  const startedMs = performance.now();
  const elapsedMs = (): number => performance.now() - startedMs;
  writeFileSync(path, "");
  return {
    elapsedMs,
    say(text) {
      const line = `${seconds(elapsedMs()).padStart(9)}  ${text}\n`;
      appendFileSync(path, line);
      process.stdout.write(line);
    },
  };
}

/** Such as `12.3 s`. */
export function seconds(spanMs: number): string {
  return `${(spanMs / 1000).toFixed(1)} s`;
}
