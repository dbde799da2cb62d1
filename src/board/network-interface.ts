import { networkInterfaces } from "node:os";

/**
 * The network interface an address of this board belongs to.
 * @param localAddress a socket's own IP address; IPv4 may come mapped into IPv6, and IPv6 with its zone
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
