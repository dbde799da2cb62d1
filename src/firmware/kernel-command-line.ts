/**
 * The value of a parameter on the kernel's command line; of several the last, as for the kernel.
 * Double quotes keep blanks together.
 */
export function kernelParameter(commandLine: string, name: string): string | undefined {
  const values = (commandLine.match(/(?:[^\s"]|"[^"]*")+/g) ?? [])
    .map((word) => word.replaceAll('"', ""))
    .filter((word) => word.startsWith(`${name}=`))
    .map((word) => word.slice(name.length + 1));
  return values.at(-1);
}
