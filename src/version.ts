import manifest from "../package.json" with { type: "json" };

/** This agent's version. */
export const VERSION: string = manifest.version;
