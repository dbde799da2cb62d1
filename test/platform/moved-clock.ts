/** A system clock that a test sets for one program and its children, by a preloaded library; `date -s` sets it too. */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Reads real time also where the library is preloaded. */
const DATE = `#!/bin/sh
[ "$1" = -s ] || exit 2
now=$(LD_PRELOAD= /bin/date +%s)
echo $(( \${2#@} - now )) > "$MOVED_CLOCK.new"
mv "$MOVED_CLOCK.new" "$MOVED_CLOCK"
echo "$2" >> "$MOVED_CLOCK.sets"
`;

export class MovedClock {
  /** For the environment of the program. */
  readonly env: Readonly<Record<string, string>>;
  readonly #file: string;

  /**
   * Needs a C compiler.
   * @param bin a folder on the program's PATH, for `date`
   */
  constructor(dir: string, bin: string) {
    this.#file = join(dir, "moved-clock");
    const library = `${this.#file}.so`;
    const source = join(import.meta.dirname, "moved-clock.c");
    execFileSync("cc", [
      "-shared",
      "-fPIC",
      "-O2",
      "-Wall",
      "-Wextra",
      "-Werror",
      "-o",
      library,
      source,
      "-ldl",
    ]);
    writeFileSync(join(bin, "date"), DATE, { mode: 0o755 });
    writeFileSync(`${this.#file}.sets`, "");
    this.env = { LD_PRELOAD: library, MOVED_CLOCK: this.#file };
  }

  /** The program's time, ms since 1970. */
  get ms(): number {
    return Date.now() + Number(readFileSync(this.#file, "utf8")) * 1000;
  }

  set ms(ms: number) {
    writeFileSync(this.#file, String(Math.round((ms - Date.now()) / 1000)));
  }

  /** To what the program has set it, ms since 1970. */
  get sets(): readonly number[] {
    return [...readFileSync(`${this.#file}.sets`, "utf8").matchAll(/^@(\d+)$/gm)].map(
      ([, s]) => Number(s) * 1000,
    );
  }
}
