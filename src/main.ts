import { main } from "./cli/main.ts";
import { keepMemorySmall } from "./platform/small-memory.ts";

/** What may still hold the process, such as a reboot command that does not return, holds it no longer. */
const LINGER_MS = 1000;

keepMemorySmall();
void main(process.argv.slice(2), process, process.env).then((code) => {
  process.exitCode = code;
  setTimeout(() => process.exit(), LINGER_MS).unref();
});
