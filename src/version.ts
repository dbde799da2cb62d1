/** Which hublink this is. */
import manifest from "../package.json" with { type: "json" };

/** This agent's version. */
export const VERSION: string = manifest.version;

/** Defined by scripts/bundle.ts. */
declare const BUILD_DATE_S: number | undefined;

/** When the source of this build was committed, ms since 1970; 0 when it runs without a build. */
export const BUILD_DATE_MS = typeof BUILD_DATE_S === "undefined" ? 0 : BUILD_DATE_S * 1000;
