/** Serves a file over HTTP and HTTPS until its standard input ends: FILE CERTIFICATE KEY. */
import { createReadStream, readFileSync, statSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";

const CHUNK_BYTES = 256 * 1024;
const [path = "", certFile = "", keyFile = ""] = process.argv.slice(2);
const sizeBytes = statSync(path).size;

const answer = (_request: IncomingMessage, response: ServerResponse): void => {
  response.writeHead(200, { "content-length": sizeBytes });
  createReadStream(path, { highWaterMark: CHUNK_BYTES }).pipe(response);
};
const servers: readonly Server[] = [
  createServer(answer),
  createTlsServer({ cert: readFileSync(certFile), key: readFileSync(keyFile) }, answer),
];
for (const server of servers) {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  process.stdout.write(`${(server.address() as AddressInfo).port}\n`);
}
process.stdin.resume().once("end", () => process.exit());
