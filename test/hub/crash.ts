/** The channel's process died on the server: the device gets `phx_error`, and its socket stays open. */
export class ChannelCrash extends Error {}

export function crash(why: string): never {
  throw new ChannelCrash(why);
}

/** Whether it is a JSON object, which the real server's pattern matches call a map. */
export function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return (
    typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
  );
}
