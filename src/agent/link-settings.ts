import type { Config } from "../config/schema.ts";
import type { LinkOptions } from "../hub/link.ts";
import { loadMsgpackSerializer } from "../hub/msgpack.ts";
import { jsonSerializer } from "../hub/serializer.ts";

/** How the configuration has the hub spoken to. */
export async function linkSettings({
  serializer,
  reconnect,
  heartbeat_s,
}: Config["hub"]): Promise<Pick<LinkOptions, "serializer" | "fallback" | "reconnect" | "heartbeatMs">> {
  return {
    serializer: serializer === "msgpack" ? await loadMsgpackSerializer() : jsonSerializer,
    fallback: jsonSerializer,
    reconnect: {
      minMs: reconnect.min_s * 1000,
      maxMs: reconnect.max_s * 1000,
      jitter: reconnect.jitter,
    },
    heartbeatMs: heartbeat_s * 1000,
  };
}
