import { appendFileSync, writeFileSync } from "node:fs";

/** What happens in a scenario, told with its times to who watches, and kept in a file. */
export interface Story {
  readonly say: (text: string) => void;
  /** Since the story began, ms. */
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
