/**
 * Which network interface traffic uses: for a socket that is open, and for a host that is not connected yet. The
 * hub shows it, and nothing is sent to find it out.
 */
import { createSocket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { once } from "node:events";
import { networkInterfaces } from "node:os";

/**
 * The network interface an address of this board belongs to.
 * @param localAddress a socket's own IP address; IPv4 may be mapped into IPv6, and IPv6 may have its zone
 * @param interfaces of the board; the system's when not given
 */
export function interfaceOf(localAddress: string, interfaces = networkInterfaces()): string | undefined {
  const [address, zone] = localAddress.replace(/^::ffff:(?=\d+\.)/i, "").split("%");
  if (zone !== undefined) return zone;
  const owner = Object.entries(interfaces).find(([, addresses]) =>
    addresses?.some((candidate) => candidate.address === address),
  );
  return owner?.[0];
}

/** Any port would do: nothing is sent. */
const DISCARD_PORT = 9;

/**
 * The network interface by which this board would reach a host now, found by a UDP socket that sends nothing.
 * @throws the system's error when the name is not known or no route leads there
 */
export async function interfaceTowards(host: string): Promise<string | undefined> {
  const { address, family } = await lookup(host);
  const socket = createSocket(family === 6 ? "udp6" : "udp4");
  try {
    socket.connect(DISCARD_PORT, address);
    await once(socket, "connect");
    return interfaceOf(socket.address().address);
  } finally {
    socket.close();
  }
}
