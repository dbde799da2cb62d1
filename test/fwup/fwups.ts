/** The stand-in and the real fwup, for tests that both must pass. */
import { realFwup, STAND_IN } from "./run.ts";

/** The fwups that tests hold against each other; `skip` is for node:test. */
export const fwups: readonly { name: string; path: string; skip: string | false }[] = [
  { name: "the stand-in", path: STAND_IN, skip: false },
  {
    name: "the real fwup",
    path: realFwup() ?? "",
    skip: realFwup() === undefined ? "there is no real fwup on the PATH" : false,
  },
];
