/**
 * Checks that span several settings: settings that need each other (errors), and settings that are allowed
 * but do harm (warnings).
 */
import { isLoopback } from "../platform/proxy.ts";
import { type Config, schema } from "./schema.ts";

/** A condition on keys that are each valid by themselves. */
interface Rule {
  /** Dotted paths of the keys that it reads. It is skipped when one of them is wrong already. */
  readonly keys: readonly string[];
  readonly problem: (config: Config) => string | undefined;
}

type Identity = Config["identity"];

const NEEDED_BY_SOURCE: readonly (readonly [Identity["source"], string, (identity: Identity) => string])[] = [
  ["file", "identity.file.cert_file", (identity) => identity.file.certFile],
  ["file", "identity.file.key_file", (identity) => identity.file.keyFile],
  ["env", "identity.env.cert", (identity) => identity.env.cert],
  ["env", "identity.env.key", (identity) => identity.env.key],
  ["pkcs11", "identity.pkcs11.module", (identity) => identity.pkcs11.module],
  ["pkcs11", "identity.pkcs11.uri", (identity) => identity.pkcs11.uri],
  ["tpm2", "identity.tpm2.key", (identity) => identity.tpm2.key],
  ["tpm2", "identity.tpm2.cert_file", (identity) => identity.tpm2.certFile],
  ["rpi-otp", "identity.rpi_otp.cert_file", (identity) => identity.rpiOtp.certFile],
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
      reconnect.minMs > reconnect.maxMs
        ? `hub.reconnect.min_s = ${reconnect.minMs / 1000}: expected no more than hub.reconnect.max_s, which is ${reconnect.maxMs / 1000}`
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
    problem: ({ identity: { source, sharedSecret: shared } }) => {
      if (source !== "shared-secret" || (shared.key === "") === (shared.secretFile === "")) return undefined;
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

/** The hub takes 64 KiB of components; the rest is for those of the application. */
const MAX_COMPONENTS_LENGTH = 32 * 1024;

/** One line for each name that two components have, or two actions or modes of one. */
function componentProblems({ component: components }: Config): string[] {
  const problems = repeated(components, "component");
  for (const [index, { action, mode }] of components.entries()) {
    problems.push(...repeated(action, `component[${index}].action`));
    problems.push(...repeated(mode, `component[${index}].mode`));
  }
  if (JSON.stringify(components).length > MAX_COMPONENTS_LENGTH) {
    problems.push("component: more than 32 KiB, which is more than the hub takes; declare fewer");
  }
  return problems;
}

function repeated(named: readonly { readonly identifier: string }[], path: string): string[] {
  return named.flatMap(({ identifier }, index) => {
    const first = named.findIndex((other) => other.identifier === identifier);
    if (identifier === "" || first === index) return []; // not set: that is reported already
    return [`${path}[${index}].identifier = "${identifier}": ${path}[${first}] has this name already`];
  });
}

/**
 * One line for each rule that is broken.
 * @param wrong dotted paths of keys and sections already found wrong
 */
export function brokenRules(config: Config, wrong: readonly string[]): string[] {
  const isWrong = (key: string): boolean => wrong.some((path) => `${key}.`.startsWith(`${path}.`));
  const broken = RULES.filter((rule) => !rule.keys.some(isWrong))
    .map((rule) => rule.problem(config))
    .filter((problem) => problem !== undefined);
  return [...broken, ...componentProblems(config)];
}

/** NervesHub closes a socket that has been silent for this time (protocol.md §1). */
const HUB_SILENCE_MS = 180_000;

/** One line for each setting that is valid but probably a mistake. */
export function warningsFor({ hub, app }: Config): string[] {
  const warnings: string[] = [];
  const url = new URL(hub.url);
  if (url.protocol === "ws:" && !isLoopback(url)) {
    warnings.push(
      `hub.url: ws://${url.host} is not encrypted and anyone on the way can act as the hub; use wss://`,
    );
  }
  if (hub.heartbeatMs >= HUB_SILENCE_MS) {
    warnings.push(
      `hub.heartbeat_s = ${hub.heartbeatMs / 1000}: NervesHub drops a device that is silent for ${HUB_SILENCE_MS / 1000} s`,
    );
  }
  if (app.update !== "ask" && app.reboot !== "ask") warnings.push(...unaskedAnswers(app));
  return warnings;
}

/** Warns about answers for the application that are set although it is never asked. */
function unaskedAnswers(app: Config["app"]): string[] {
  const { on_timeout, on_no_controller, ask_timeout_s } = schema.entries.app.entries;
  const changed = {
    on_timeout: app.onTimeout !== on_timeout.initial,
    on_no_controller: app.onNoController !== on_no_controller.initial,
    ask_timeout_s: app.askTimeoutMs !== ask_timeout_s.initial * 1000,
  };
  return Object.entries(changed)
    .filter(([, isChanged]) => isChanged)
    .map(([key]) => `app.${key}: has no effect while neither app.update nor app.reboot is "ask"`);
}
