/** The location of a geo service: the parts of its answer, and the limit on its size. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, it } from "node:test";
import { Geo } from "../../src/extensions/geo.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { silentLog } from "../../src/platform/log.ts";
import { inTime } from "../eventually.ts";

describe("the answer of a geo service", () => {
  let server: Server;
  let answer: (write: (text: string) => boolean, end: () => void) => void;
  let sentBytes: number;
  beforeEach(async () => {
    sentBytes = 0;
    server = createServer((_request, response) => {
      const write = (text: string): boolean => {
        sentBytes += text.length;
        return response.write(text);
      };
      const next = (): void => answer(write, () => response.end());
      response.on("drain", next);
      response.on("error", () => undefined); // the agent closes the connection
      next();
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
  });
  afterEach(async () => {
    server.closeAllConnections();
    await inTime(once(server.close(), "close"), "the service closes");
  });

  /** Sends the hub's request. @returns the extension's answer */
  const reported = async (): Promise<unknown> => {
    const sent: unknown[] = [];
    const { port } = server.address() as AddressInfo;
    const running = new Geo(`http://127.0.0.1:${port}/`, systemClock, async () => Promise.resolve([])).start({
      push: (event, payload) => sent.push([event, payload]) > 0,
      clock: systemClock,
      log: silentLog,
      version: "0.0.1",
      signal: new AbortController().signal,
      fail: (error) => assert.fail(String(error)),
    });
    await running.onMessage("location:request", {});
    return sent;
  };

  it("is reported as the location", async () => {
    answer = (write, end) => {
      write('{"lat": 52.5, "lon": 13.4}');
      end();
    };
    assert.deepEqual(await reported(), [
      ["location:update", { source: "geoip", latitude: 52.5, longitude: 13.4 }],
    ]);
  });

  it("is reported as the location when it is two numbers", async () => {
    for (const text of ["52.5,13.4", " 52.5 , 13.4\n", "52.5 13.4", "52.5\t,13.4"]) {
      answer = (write, end) => {
        write(text);
        end();
      };
      const [[, location] = []] = (await reported()) as [string, unknown][];
      assert.deepEqual(location, { source: "geoip", latitude: 52.5, longitude: 13.4 }, text);
    }
  });

  it("is read up to 64 KiB when it has no end", async () => {
    answer = (write) => {
      while (write(" ".repeat(16 * 1024)));
    };
    assert.deepEqual(await reported(), [
      [
        "location:update",
        { error_code: "unavailable", error_description: "geo.source answers with too much" },
      ],
    ]);
    assert.ok(sentBytes < 64 * 1024 * 1024, `the service could send ${sentBytes} bytes`);
  });
});
