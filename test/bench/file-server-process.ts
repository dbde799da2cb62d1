/** Starts file-server.ts as a process: in the benchmark's own process it would slow down what is measured. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { PairFiles } from "../hub/certificates.ts";
import type { Scheme } from "./agent-process.ts";

/** A process that serves one file, to all who ask, as fast as it can. */
export interface FileServer {
  readonly urls: Readonly<Record<Scheme, string>>;
  stop(): Promise<void>;
}

export async function startFileServer(path: string, { certFile, keyFile }: PairFiles): Promise<FileServer> {
  const program = join(import.meta.dirname, "file-server.ts");
  // Its standard input is its lifeline: it ends with it, and so with this process.
  const child = spawn(process.execPath, ["--import", "tsx", program, path, certFile, keyFile], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const ended = once(child, "exit");
  const ports: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    ports.push(line);
    if (ports.length === 2) break;
  }
  const [http = "", https = ""] = ports;
  return {
    urls: { http: `http://127.0.0.1:${http}/2.0.0.fw`, https: `https://localhost:${https}/2.0.0.fw` },
    async stop() {
      child.stdin.end();
      await ended;
    },
  };
}
