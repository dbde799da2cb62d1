import { isLoopback } from "../platform/proxy.ts";
import { type Config, schema } from "./schema.ts";

/** What must hold between keys that are each valid by themselves. */
interface Rule {
  /** Dotted paths of the keys it looks at; the rule is left out when one of them is wrong already. */
  readonly keys: readonly string[];
  readonly problem: (config: Config) => string | undefined;
}

type Identity = Config["identity"];

const NEEDED_BY_SOURCE: readonly (readonly [Identity["source"], string, (identity: Identity) => string])[] = [
  ["file", "identity.file.cert_file", (identity) => identity.file.cert_file],
  ["file", "identity.file.key_file", (identity) => identity.file.key_file],
  ["env", "identity.env.cert", (identity) => identity.env.cert],
  ["env", "identity.env.key", (identity) => identity.env.key],
  ["pkcs11", "identity.pkcs11.module", (identity) => identity.pkcs11.module],
  ["pkcs11", "identity.pkcs11.uri", (identity) => identity.pkcs11.uri],
  ["tpm2", "identity.tpm2.key", (identity) => identity.tpm2.key],
  ["tpm2", "identity.tpm2.cert_file", (identity) => identity.tpm2.cert_file],
  ["rpi-otp", "identity.rpi_otp.cert_file", (identity) => identity.rpi_otp.cert_file],
];

const RULES: readonly Rule[] = [
  {
    keys: ["hub.url"],
    problem: ({ hub }) =>
      hub.url === ""
        ? 'hub.url: not set; write url = "wss://YOUR-HUB" under [hub], or set HUBLINK_HUB__URL'
        : undefined,
  },
  {
    keys: ["hub.reconnect.min_s", "hub.reconnect.max_s"],
    problem: ({ hub: { reconnect } }) =>
      reconnect.min_s > reconnect.max_s
        ? `hub.reconnect.min_s = ${reconnect.min_s}: expected no more than hub.reconnect.max_s, which is ${reconnect.max_s}`
        : undefined,
  },
  ...NEEDED_BY_SOURCE.map(([source, key, value]): Rule => ({
    keys: [key, "identity.source"],
    problem: ({ identity }) =>
      identity.source === source && value(identity) === ""
        ? `${key}: not set, but identity.source = "${source}" needs it; set it or choose another source`
        : undefined,
  })),
  {
    keys: ["identity.source", "identity.shared_secret.key", "identity.shared_secret.secret_file"],
    problem: ({ identity: { source, shared_secret: shared } }) => {
      if (source !== "shared-secret" || (shared.key === "") === (shared.secret_file === "")) return undefined;
      const [missing, given] = shared.key === "" ? ["key", "secret_file"] : ["secret_file", "key"];
      return `identity.shared_secret.${missing}: not set, but ${given} is; set both, or neither to take them from the U-Boot environment`;
    },
  },
  {
    keys: ["extensions.geo", "geo.source"],
    problem: ({ extensions, geo }) =>
      extensions.geo && geo.source === ""
        ? "geo.source: not set, but extensions.geo = true needs it; say where the board is, or how to find out"
        : undefined,
  },
  {
    keys: ["reboot.methods", "watchdog.gpio.line"],
    problem: ({ reboot, watchdog }) =>
      reboot.methods.includes("gpio-watchdog") && watchdog.gpio.line === ""
        ? 'watchdog.gpio.line: not set, but reboot.methods has "gpio-watchdog", which needs it'
        : undefined,
  },
];

/**
 * One line for each rule that is broken.
 * @param wrong dotted paths of keys and sections already found wrong
 */
export function brokenRules(config: Config, wrong: readonly string[]): string[] {
  const isWrong = (key: string): boolean => wrong.some((path) => `${key}.`.startsWith(`${path}.`));
  return RULES.filter((rule) => !rule.keys.some(isWrong))
    .map((rule) => rule.problem(config))
    .filter((problem) => problem !== undefined);
}

/** NervesHub closes a socket that is silent for so long (protocol.md §1). */
const HUB_SILENCE_S = 180;

/** One line for each setting that is valid but likely to be regretted. */
export function warningsFor({ hub, app }: Config): string[] {
  const warnings: string[] = [];
  const url = new URL(hub.url);
  if (url.protocol === "ws:" && !isLoopback(url)) {
    warnings.push(
      `hub.url: ws://${url.host} is not encrypted and anyone on the way can act as the hub; use wss://`,
    );
  }
  if (hub.heartbeat_s >= HUB_SILENCE_S) {
    warnings.push(
      `hub.heartbeat_s = ${hub.heartbeat_s}: NervesHub drops a device that is silent for ${HUB_SILENCE_S} s`,
    );
  }
  if (app.update !== "ask" && app.reboot !== "ask") warnings.push(...unaskedAnswers(app));
  return warnings;
}

/** What is said of the application's answers while it is asked nothing. */
function unaskedAnswers(app: Config["app"]): string[] {
  return (["on_timeout", "on_no_controller", "ask_timeout_s"] as const)
    .filter((key) => app[key] !== schema.entries.app.entries[key].initial)
    .map((key) => `app.${key}: has no effect while neither app.update nor app.reboot is "ask"`);
}
