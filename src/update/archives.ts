/**
 * Fetches the archives that come with a deployment: files for the application, signed like firmware. One is
 * kept, the newest; it becomes visible in the folder only after its signature is verified, and a mark beside it
 * says that the ready command has succeeded, so that a restart neither fetches it nor runs the command again.
 */
import { existsSync } from "node:fs";
import { open, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "../config/schema.ts";
import type { AgentStatus } from "../control/agent-status.ts";
import { FirmwareCache } from "../download/cache.ts";
import { downloadParts } from "../download/parts.ts";
import { KEYS_REMEDY, verifyArchive } from "../firmware/fwup.ts";
import { readMetadata } from "../firmware/metadata.ts";
import type { Archive } from "../hub/device-messages.ts";
import { failedEnd } from "../platform/command.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import { syncPath } from "../platform/files.ts";
import { type Log, redact } from "../platform/log.ts";
import type { World } from "../platform/world.ts";
import { downloadDeps, type HubOfferDeps } from "./offers.ts";
import type { Updater } from "./updater.ts";

export interface ArchivesOptions {
  readonly config: Config["archives"];
  readonly fwup: string;
  /** The keys of this moment that archives may be signed with, Base64 Ed25519. */
  readonly keys: { readonly usable: () => readonly string[] };
  /** While it is at work, the line and the disk are its own. */
  readonly updater: Pick<Updater, "settled">;
  readonly fetching: HubOfferDeps;
  readonly world: World;
  readonly log: Log;
}

type State = NonNullable<AgentStatus["archive"]>["state"];

const READY_TIMEOUT_MS = 600_000;
/** The files of this folder that are ours: an archive, and the mark that its command has succeeded. */
const OURS = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(?:fw|ready)$/;

export class Archives {
  readonly #options: ArchivesOptions;
  readonly #log: Log;
  readonly #cache: FirmwareCache;
  readonly #stop = new AbortController();
  #next: Archive | undefined;
  #last: AgentStatus["archive"] = null;
  #running: Promise<void> | undefined;

  constructor(options: ArchivesOptions) {
    this.#options = options;
    this.#log = options.log;
    this.#cache = new FirmwareCache(options.config.dir, options.world.clock);
  }

  /** How the archive that the hub sent last is doing. */
  get last(): AgentStatus["archive"] {
    return this.#last;
  }

  /** Fetches what the hub sends, at every join again; one that is here already is not fetched. */
  offer(archive: Archive): void {
    this.#next = archive;
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#next = undefined;
    this.#stop.abort(new Failure("stopped", "the agent stops"));
    await this.#running;
  }

  async #run(): Promise<void> {
    for (let archive = this.#next; archive !== undefined; archive = this.#next) {
      this.#next = undefined;
      try {
        await this.#provide(archive);
      } catch (error) {
        if (this.#stop.signal.aborted) continue;
        const reason = redact(messageOf(error)); // `hublink status` shows it
        this.#log.error(`archive ${archive.uuid}: ${reason}`);
        this.#note(archive, "failed", reason);
      }
    }
    this.#running = undefined;
  }

  async #provide(archive: Archive): Promise<void> {
    const { uuid, size } = archive;
    this.#note(archive, "waiting");
    if (existsSync(this.#path(uuid, "ready"))) {
      this.#note(archive, "ready");
      return;
    }
    if (!existsSync(this.#path(uuid, "fw"))) {
      if (this.#options.keys.usable().length === 0) {
        throw new Failure("no_public_key", `no key to verify it with: ${KEYS_REMEDY}`);
      }
      await this.#options.updater.settled();
      this.#stop.signal.throwIfAborted();
      this.#note(archive, "fetching");
      this.#log.info("fetching", { uuid, version: archive.version, size });
      await this.#fetch(archive);
      this.#log.info("complete and verified", { uuid });
    }
    await this.#runReadyCommand(archive);
    await this.#removeOthers(uuid);
    this.#note(archive, "ready");
    this.#log.info("ready", { uuid });
  }

  /** Fetches into the cache, which outlives a restart, and shows the file when it is verified. */
  async #fetch({ uuid, url, size }: Archive): Promise<void> {
    const { signal } = this.#stop;
    const file = await this.#cache.open(uuid, { sizeBytes: size, checksum: null, parts: null });
    try {
      await downloadParts({
        ...downloadDeps(this.#options.fetching),
        ...{ url, file, signal, connections: 1 },
        mayGoOn: async () => this.#options.updater.settled(),
      });
    } finally {
      await file.close();
    }
    try {
      await this.#verify(uuid, file.path);
      await rename(file.path, this.#path(uuid, "fw"));
    } finally {
      if (!signal.aborted) await this.#cache.remove(uuid);
    }
    await syncPath(this.#options.config.dir);
  }

  /** The hub announces no checksum of an archive: its signature alone proves it, when it is complete. */
  async #verify(uuid: string, file: string): Promise<void> {
    const { fwup, keys, world } = this.#options;
    const query = { fwup, clock: world.clock, signal: this.#stop.signal, file, publicKeys: keys.usable() };
    await verifyArchive(query);
    const metadata = await readMetadata(query);
    if (metadata.uuid !== uuid) {
      throw new Failure("firmware_mismatch", `the file is the archive ${metadata.uuid}`);
    }
  }

  async #runReadyCommand({ uuid, version }: Archive): Promise<void> {
    const { config, world } = this.#options;
    const { signal } = this.#stop;
    if (config.readyCommand !== "") {
      const result = await world.run(config.readyCommand, {
        clock: world.clock,
        timeoutMs: READY_TIMEOUT_MS,
        signal,
        env: {
          HUBLINK_ARCHIVE_PATH: this.#path(uuid, "fw"),
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
    await (await open(this.#path(uuid, "ready"), "w", 0o600)).close();
    await syncPath(config.dir);
  }

  async #removeOthers(uuid: string): Promise<void> {
    const { dir } = this.#options.config;
    for (const name of await readdir(dir)) {
      const owner = OURS.exec(name)?.[1];
      if (owner !== undefined && owner !== uuid) await rm(join(dir, name), { force: true });
    }
  }

  #note({ uuid, version }: Archive, state: State, reason: string | null = null): void {
    this.#last = { uuid, version: version ?? null, state, reason };
  }

  #path(uuid: string, ending: "fw" | "ready"): string {
    return join(this.#options.config.dir, `${uuid}.${ending}`);
  }
}
