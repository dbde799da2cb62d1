/**
 * The environment of the programs that people at the hub run: consoles and scripts. They do not get the agent's own: it
 * may hold the proxy's password, the place of a key, and overrides of the configuration.
 */
import { ownAccount } from "./account.ts";

const INHERITED = ["PATH", "LANG", "LC_ALL", "TZ", "TERM"];
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The variables of a program that runs as the agent's user. */
export function guestEnvironment(): Record<string, string> {
  const { name, home } = ownAccount();
  const environment: Record<string, string> = {
    PATH: DEFAULT_PATH,
    HOME: home,
    USER: name,
    LOGNAME: name,
  };
  for (const variable of INHERITED) {
    const value = process.env[variable];
    if (value !== undefined) environment[variable] = value;
  }
  return environment;
}
