import { existsSync } from "node:fs";
import { open, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { createFirmwareCache } from "../download/cache.ts";
import type { DownloadOptions } from "../download/stream.ts";
import { verifyArchive } from "../firmware/fwup.ts";
import { readMetadata } from "../firmware/metadata.ts";
import { downloadParts } from "../download/parts.ts";
import type { Archive } from "../hub/device-messages.ts";
import { syncPath } from "../platform/files.ts";
import { failedEnd, runCommand } from "../platform/command.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { AgentStatus } from "../control/messages.ts";

export interface ArchivesOptions {
  /** `[archives]`, enabled. */
  readonly config: { readonly dir: string; readonly readyCommand: string };
  readonly fwup: string;
  /** The keys of this moment that archives may be signed with. */
  readonly publicKeys: () => readonly string[];
  /** Resolves when no update is under way. */
  readonly noUpdate: () => Promise<void>;
  readonly fetching: Omit<DownloadOptions, "url" | "verifier" | "signal">;
  readonly log: Log;
}

/** Fetches the archives that come with a deployment. */
export interface Archives {
  /** What became of the one that was sent last. */
  readonly last: AgentStatus["archive"];
  /** Takes what the hub sends, at every join again. */
  offer(archive: Archive): void;
  stop(): Promise<void>;
}

const READY_TIMEOUT_MS = 600_000;
/** What is kept in the folder: an archive, and the mark that its command has succeeded. */
const OURS = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(?:fw|ready)$/;

export function createArchives(options: ArchivesOptions): Archives {
  const { config, log } = options;
  const stopping = new AbortController();
  const { signal } = stopping;
  let next: Archive | undefined;
  let last: AgentStatus["archive"] = null;
  let running: Promise<void> | undefined;

  const cache = createFirmwareCache(config.dir, options.fetching.clock);
  const become = (
    { uuid, version }: Archive,
    state: NonNullable<AgentStatus["archive"]>["state"],
    reason: string | null = null,
  ): void => {
    last = { uuid, version: version ?? null, state, reason };
  };
  const pathOf = (uuid: string, ending: "fw" | "ready"): string => join(config.dir, `${uuid}.${ending}`);

  /** Proven by its signature only, when it is complete. */
  const verify = async (uuid: string, path: string): Promise<void> => {
    const { clock } = options.fetching;
    const query = { fwup: options.fwup, clock, signal, file: path, publicKeys: options.publicKeys() };
    await verifyArchive(query);
    const metadata = await readMetadata(query);
    if (metadata.uuid !== uuid) throw new Failure("failed", `the file is the archive ${metadata.uuid}`);
  };

  /** Beside the others until it is proven; what has come of it outlives a restart. */
  const fetchArchive = async ({ uuid, url, size }: Archive): Promise<void> => {
    const file = await cache.open(uuid, { sizeBytes: size, checksum: null, parts: null });
    try {
      await downloadParts({
        ...options.fetching,
        ...{ url, file, signal, connections: 1 },
        mayGoOn: options.noUpdate, // the line and the disk are the update's as long as there is one
      });
    } finally {
      await file.close();
    }
    try {
      await verify(uuid, file.path);
      await rename(file.path, pathOf(uuid, "fw"));
    } finally {
      if (!signal.aborted) await cache.remove(uuid);
    }
    await syncPath(config.dir);
  };

  const tellReady = async ({ uuid, version }: Archive): Promise<void> => {
    if (config.readyCommand !== "") {
      const path = pathOf(uuid, "fw");
      const result = await runCommand(config.readyCommand, {
        clock: options.fetching.clock,
        timeoutMs: READY_TIMEOUT_MS,
        signal,
        env: {
          HUBLINK_ARCHIVE_PATH: path,
          HUBLINK_ARCHIVE_UUID: uuid,
          HUBLINK_ARCHIVE_VERSION: version ?? "",
        },
      });
      signal.throwIfAborted();
      if (result.exitCode !== 0) {
        const end = failedEnd(result, READY_TIMEOUT_MS);
        throw new Failure("failed", `archives.ready_command ${end}; it is run again at the next join`);
      }
    }
    await (await open(pathOf(uuid, "ready"), "w", 0o600)).close();
    await syncPath(config.dir);
  };

  /** The folder holds the newest archive, and no other. */
  const removeOthers = async (uuid: string): Promise<void> => {
    for (const name of await readdir(config.dir)) {
      const owner = OURS.exec(name)?.[1];
      if (owner !== undefined && owner !== uuid) await rm(join(config.dir, name), { force: true });
    }
  };

  const take = async (archive: Archive): Promise<void> => {
    const { uuid, size } = archive;
    become(archive, "waiting");
    if (existsSync(pathOf(uuid, "ready"))) {
      become(archive, "ready");
      return;
    }
    if (!existsSync(pathOf(uuid, "fw"))) {
      if (options.publicKeys().length === 0) {
        throw new Failure(
          "config",
          "no key to verify it with: set firmware.public_keys, or let the hub send its keys",
        );
      }
      await options.noUpdate();
      signal.throwIfAborted();
      become(archive, "fetching");
      log.info("fetching", { uuid, version: archive.version, size });
      await fetchArchive(archive);
      log.info("complete and verified", { uuid });
    }
    await tellReady(archive);
    await removeOthers(uuid);
    become(archive, "ready");
    log.info("ready", { uuid });
  };

  const run = async (): Promise<void> => {
    for (let archive = next; archive !== undefined; archive = next) {
      next = undefined;
      try {
        await take(archive);
      } catch (error) {
        if (signal.aborted) continue;
        log.error(`archive ${archive.uuid}: ${messageOf(error)}`);
        become(archive, "failed", messageOf(error));
      }
    }
    running = undefined;
  };

  return {
    get last() {
      return last;
    },
    offer(archive) {
      next = archive;
      running ??= run();
    },
    async stop() {
      next = undefined;
      stopping.abort(new Error("the agent stops"));
      await running;
    },
  };
}
