/** The network interface that traffic uses. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { networkInterfaces, type NetworkInterfaceInfo } from "node:os";
import { describe, it } from "node:test";
import { interfaceOf, interfaceTowards } from "../../src/board/network-interface.ts";
import { inTime } from "../eventually.ts";

const v4 = (address: string): NetworkInterfaceInfo => ({
  address,
  family: "IPv4",
  netmask: "255.255.255.0",
  mac: "b8:27:eb:00:00:01",
  internal: false,
  cidr: `${address}/24`,
});
const v6 = (address: string): NetworkInterfaceInfo => ({
  address,
  family: "IPv6",
  netmask: "ffff:ffff:ffff:ffff::",
  mac: "b8:27:eb:00:00:01",
  internal: false,
  cidr: `${address}/64`,
  scopeid: 0,
});

describe("the network interface of a socket", () => {
  const interfaces = {
    eth0: [v4("192.168.1.20"), v6("2001:db8::20")],
    wlan0: [v4("10.0.0.7"), v6("fe80::1")],
  };

  it("is the one that has the socket's own address", () => {
    assert.equal(interfaceOf("192.168.1.20", interfaces), "eth0");
    assert.equal(interfaceOf("10.0.0.7", interfaces), "wlan0");
    assert.equal(interfaceOf("2001:db8::20", interfaces), "eth0");
    assert.equal(interfaceOf("192.168.1.2", interfaces), undefined);
  });

  it("is found for an IPv4 address in IPv6 form", () => {
    assert.equal(interfaceOf("::ffff:10.0.0.7", interfaces), "wlan0");
  });

  it("is the zone of a link-local address, which several interfaces may share", () => {
    assert.equal(interfaceOf("fe80::1%usb0", interfaces), "usb0");
  });

  for (const [name, all] of Object.entries(networkInterfaces())) {
    for (const { address, scopeid } of all ?? []) {
      if (scopeid !== undefined && scopeid !== 0) continue; // link-local
      it(`is found before the socket is open: ${name}, towards ${address}`, async () => {
        assert.equal(await interfaceTowards(address), name);
      });
    }
  }

  it("is unknown towards an unknown host", async () => {
    await assert.rejects(interfaceTowards("no-such-host.invalid"), { syscall: "getaddrinfo" });
  });

  it("is the loopback for a real socket to this machine", async () => {
    const loopback = Object.entries(networkInterfaces()).find(([, all]) => all?.[0]?.internal)?.[0];
    const server = createServer((peer) => peer.end()).listen(0, "127.0.0.1");
    await once(server, "listening");
    const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
    await inTime(once(socket, "connect"), "a connection to this machine");
    assert.equal(interfaceOf(socket.localAddress ?? ""), loopback);
    socket.destroy();
    server.close();
  });
});
