/** The entry of the program: sets V8 up for a small memory, runs the command, and ends the process. */
import { setFlagsFromString } from "node:v8";
import { main } from "./cli/main.ts";
import { VERIFY_NOTHING } from "./config/environment.ts";

/** How long something may keep the process alive after the command, such as a reboot command that hangs. */
const LINGER_MS = 1000;

keepMemorySmall();
const env = { ...process.env };
Reflect.deleteProperty(process.env, VERIFY_NOTHING); // the configuration's warnings name it
void main(process.argv.slice(2), process, env).then((code) => {
  process.exitCode = code;
  setTimeout(() => process.exit(), LINGER_MS).unref();
});

/**
 * Makes V8 collect garbage rather than grow; this must come before anything else runs. Measured on x64 with
 * Node 20, the agent grows while 128 MiB stream through it over TLS: by 63 MiB without these flags, by 36 with
 * the second, by 20 with both.
 */
function keepMemorySmall(): void {
  // Network buffers are outside V8's heap, and only minor collections free them. Those come more often when
  // the young generation stays small.
  setFlagsFromString("--semi-space-growth-factor=1");
  // undici's HTTP parser is WebAssembly, and optimizing it takes tens of MiB for a moment. 32-bit ARM does
  // without the flag: V8's baseline compiler needs ARMv7, and where it is missing the flag is a fatal error.
  if (process.arch !== "arm") setFlagsFromString("--liftoff-only");
}
