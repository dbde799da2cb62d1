/** Writes docs/footprint.md: size and memory of the binaries in dist, measured on this machine. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { format, resolveConfig } from "prettier";
import { IDENTIFIER, setUpBoard } from "../test/agent/board.ts";
import { inRounds, median } from "../test/bench/rounds.ts";
import { bundle } from "./bundle.ts";
import { executableOf, nameOf } from "./package/bases.ts";
import { setUpFor, starterOf } from "./package/emulation.ts";
import { baseOf, TARGETS, type Target } from "./package/manifest.ts";
import { apart, residentOf, type Resident } from "./package/resident.ts";
import { run } from "./package/run.ts";

const root = join(import.meta.dirname, "..");
const ROUNDS = 3;
const HEARTBEATS = 20;
/** Flags of V8; a binary cannot contain them (see DECISION). */
const FLAGS = [
  [],
  ["--max-semi-space-size=1"],
  ["--max-old-space-size=32"],
  ["--optimize-for-size"],
  ["--v8-pool-size=0"],
  ["--single-threaded"],
  ["--lite-mode"],
  ["--jitless"],
];

const DECISION = `## V8's flags: none, but a code cache

The base itself was given each flag, with the bundle as its script; the first row is what ships.
"Own" is anonymous memory. "With files" also counts pages of the executable, which the kernel can drop and
read again.

FLAGS_TABLE

- **The code cache stays.** It costs 64 to 128 KiB in the file. It saves more of the agent's own memory
  than any flag does, since the program was compiled when it was packed. Natively it also saves a fifth of
  the start.
- **A snapshot of the heap** instead of the code cache was not made. The agent's modules would have to run
  on each target's own Node while it is packed. It could save only the agent's own part of the start, which
  is less than half of \`--version\` natively (\`npm run bench\`: 1.77 times \`node -e 0\`).
- **Heavy modules are loaded when they are needed**: undici, which downloads need, is 15 MiB natively.
  test/cli/lazy-loading.test.ts lists the modules that may not be loaded at the start.
- **\`--max-semi-space-size\`, \`--optimize-for-size\`, \`--single-threaded\`, \`--v8-pool-size\`** change
  about half a MiB of an agent that waits: its heap is small, and V8 does not use all that it may.
- **\`--max-old-space-size\`** changes nothing at rest. As a limit it would abort an agent that needs more
  memory for a moment.
- **\`--lite-mode\`, \`--jitless\`** switch WebAssembly off. undici, which downloads firmware, parses HTTP
  with WebAssembly, so these flags cannot be used.
- Only newer Nodes let a binary contain flags (\`execArgv\` of the SEA configuration). Node 20 has no such
  field, and the static base is built without NODE_OPTIONS. \`v8.setFlagsFromString()\` comes after the heap
  is laid out: tried with \`--no-opt\`, and with \`--optimize-for-size\` and
  \`--semi-space-growth-factor=1\`, it saved 0.1 MiB at most.

## Memory over time

A busy agent grew by 31 MiB in its first minute (x64): V8 frees network buffers only in its full collections, and glibc
keeps what lies between other blocks. So the agent has V8 collect whenever 4 MiB of garbage may have come together
(\`src/platform/garbage.ts\`), and its init files set two variables of glibc's malloc:

    MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=131072

With both it grows by 7 to 12 MiB and stays there; without the variables by 19 MiB. Set them if you start the agent by
something else than hublink.service or hublink-supervise. \`npm run soak\` measures it, and [figures.md](figures.md) has
the results.
`;

interface Joined extends Resident {
  readonly joinedMs: number;
}

setUpFor(TARGETS.map(baseOf));
spawnSync(join(root, "scripts/setup"), ["squashfs-tools=mksquashfs=it shows what a file costs in an image"], {
  stdio: "inherit",
});
const folder = await mkdtemp(join(tmpdir(), "hublink-footprint-"));
try {
  const file = join(root, "docs/footprint.md");
  const content = await document();
  await writeFile(file, await format(content, { ...(await resolveConfig(file)), parser: "markdown" }));
  console.log(`${file} is written`);
} finally {
  await rm(folder, { recursive: true });
}

async function document(): Promise<string> {
  const sizes: string[][] = [];
  const speeds: string[][] = [];
  for (const target of TARGETS) {
    const binary = join(root, `dist/hublink-linux-${target}`);
    sizes.push([target, nameOf(baseOf(target)), ...(await sizesOf(binary, target))]);
    const versionMs = median(await inRounds(ROUNDS, async () => versionMsOf(target, binary)));
    const joined = await joinedOf(target, [binary]);
    const columns = [ms(versionMs), ms(joined.joinedMs), mib(joined.anonymousMib), mib(joined.wholeMib)];
    speeds.push([target, target === "x64" ? "native" : "emulated", ...columns]);
  }
  const { version } = process;
  const qemu = (await run("qemu-arm-static", ["--version"])).split("\n")[0] ?? "";
  return `# Footprint

<!-- Written by scripts/footprint.ts; \`npm run package && npm run footprint\` renews it. -->

Medians of ${ROUNDS} rounds on a machine with ${cpus().length} CPUs (${process.arch}), Node ${version}, ${qemu}.

## Size

The sizes are in bytes; MB are 10⁶. Compressed sizes are those in a squashfs with blocks of 128 KiB (the default
of mksquashfs and Buildroot) and of 1 MiB. For 32-bit ARM, xz uses its filter for ARM code (\`-Xbcj arm\`).

${table(["binary", "base", "plain", "xz", "xz, 1 MiB", "zstd", "zstd, 1 MiB"], sizes)}

Goals for armv6: 37 MB plain, 11 MB with xz. npm's Node is stripped of its symbols (19.9 MB of the
aarch64 one). Other parts of it, such as the data of all languages, cannot be left out. A lean static base
for aarch64 would be one line in scripts/package/bases.json.

## Start and memory

"Joined" is the time until a hub on loopback lists the board as online, over TLS with a client certificate.
Memory is that of an agent that has joined and waits, after ${HEARTBEATS} heartbeats. Emulated times compare the
binaries; they do not say how long a board takes. Emulated memory is exact: the guest's memory is in a range of
addresses of its own, and only that range of smaps is counted, without qemu's translated code. The goal is
42 MiB with files on armv6. How many pages of its file a process holds depends on the kernel and on the other
processes.

${table(["binary", "", "--version", "joined", "own", "with files"], speeds)}

${DECISION.replace("FLAGS_TABLE", await flagsTable())}`;
}

async function flagsTable(): Promise<string> {
  const targets = ["armv6", "x64"] as const;
  const cjs = join(folder, "hublink.cjs");
  await bundle(cjs);
  const rows: string[][] = [];
  const row = async (label: string, command: (target: Target) => Promise<readonly string[]>) => {
    const cells: string[] = [];
    for (const target of targets) {
      const { anonymousMib, wholeMib, joinedMs } = await joinedOf(target, await command(target));
      cells.push(mib(anonymousMib), mib(wholeMib), ms(joinedMs));
    }
    rows.push([label, ...cells]);
  };
  // eslint-disable-next-line @typescript-eslint/require-await
  await row("**the binary**, code cache", async (target) => [join(root, `dist/hublink-linux-${target}`)]);
  for (const flags of FLAGS) {
    await row(flags.length === 0 ? "no flag" : `\`${flags.join(" ")}\``, async (target) => {
      const base = baseOf(target);
      // A base that pkg has patched reads the word after its flags as its own path.
      return [await executableOf(base), ...flags, ...(base.patchedByPkg ? ["node"] : []), cjs];
    });
  }
  const header = targets.flatMap((target) => [`${target}: own`, "with files", "joined"]);
  return table(["", ...header], rows, 1);
}

async function sizesOf(binary: string, target: Target): Promise<string[]> {
  const image = join(folder, "image");
  const filter = baseOf(target).arch === "arm" ? ["-Xbcj", "arm"] : [];
  const sizes = [(await stat(binary)).size];
  for (const compressor of [
    ["xz", ...filter],
    ["zstd", "-Xcompression-level", "19"],
  ]) {
    for (const block of ["128K", "1M"]) {
      const options = ["-comp", ...compressor, "-b", block, "-noappend", "-quiet", "-no-progress"];
      await run("mksquashfs", [binary, image, ...options]);
      sizes.push((await stat(image)).size);
    }
  }
  return sizes.map((size) => size.toLocaleString("en-GB"));
}

async function versionMsOf(target: Target, binary: string): Promise<number> {
  const line: readonly string[] = [...starterOf(baseOf(target), target), binary, "--version"];
  const [program = "", ...args] = line;
  const fromMs = performance.now();
  await run(program, args);
  return performance.now() - fromMs;
}

async function joinedOf(target: Target, command: readonly string[]): Promise<Joined> {
  const rounds = await inRounds(ROUNDS, async () => joinedOnce(target, command));
  return {
    joinedMs: median(rounds.map((round) => round.joinedMs)),
    anonymousMib: median(rounds.map((round) => round.anonymousMib)),
    wholeMib: median(rounds.map((round) => round.wholeMib)),
  };
}

async function joinedOnce(target: Target, command: readonly string[]): Promise<Joined> {
  const board = await setUpBoard({ config: { hub: { heartbeat_s: 0.1 } } });
  const starter = apart(starterOf(baseOf(target), target));
  const line: readonly string[] = [...starter, ...command, "run", "--config", await board.writeConfig()];
  const [program = "", ...args] = line;
  const fromMs = performance.now();
  // A base that pkg has patched runs as a plain Node only with this variable.
  const plain = command.length > 1 && { PKG_EXECPATH: "PKG_INVOKE_NODEJS" };
  const agent = spawn(program, args, {
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, ...plain },
  });
  const log = text(agent.stderr);
  const ended = once(agent, "exit");
  try {
    const died = ended.then(async () => Promise.reject(new Error(`the agent has ended: ${await log}`)));
    const device = board.hub.device(IDENTIFIER);
    await Promise.race([died, board.hub.until(() => device.online)]);
    const joinedMs = performance.now() - fromMs;
    const beats = () => device.received.filter(({ event }) => event === "heartbeat").length;
    await Promise.race([died, board.hub.until(() => beats() >= HEARTBEATS)]);
    return { joinedMs, ...(await residentOf(agent.pid ?? 0, starter.length > 0)) };
  } finally {
    agent.kill("SIGTERM");
    await ended;
    await board.remove();
  }
}

/** A table; the first `words` columns are text, the others numbers. */
function table(header: readonly string[], rows: readonly (readonly string[])[], words = 2): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const rule = header.map((_, column) => (column < words ? "---" : "--:"));
  return [line(header), line(rule), ...rows.map(line)].join("\n");
}

function ms(value: number): string {
  return `${value.toFixed(0)} ms`;
}

function mib(value: number): string {
  return `${value.toFixed(1)} MiB`;
}
