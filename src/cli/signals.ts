/** What the daemon is told by signals. */
export interface Signals {
  /** What to do next. To stop comes first, and signals that came meanwhile count once. */
  next(): Promise<"stop" | "reload">;
  /** Resolves with SIGTERM or SIGINT. */
  readonly stopped: Promise<void>;
  readonly stopping: boolean;
  /** Signals do again what they do by default. */
  end(): void;
}

/** Listens to SIGTERM, SIGINT and SIGHUP, and keeps the process alive for them. */
export function listenToSignals(): Signals {
  let stopping = false;
  let reload = false;
  let wake = (): void => undefined;
  let stop = (): void => undefined;
  const stopped = new Promise<void>((resolve) => (stop = resolve));
  const onStop = (): void => {
    stopping = true;
    stop();
    wake();
  };
  const onReload = (): void => {
    reload = true;
    wake();
  };
  process.on("SIGTERM", onStop).on("SIGINT", onStop).on("SIGHUP", onReload);
  // A handler alone does not keep a process alive, and between two connections nothing else might.
  const alive = setInterval(() => undefined, 2 ** 30);
  return {
    async next() {
      if (!stopping && !reload) await new Promise<void>((resolve) => (wake = resolve));
      if (stopping) return "stop";
      reload = false;
      return "reload";
    },
    stopped,
    get stopping() {
      return stopping;
    },
    end() {
      clearInterval(alive);
      process.off("SIGTERM", onStop).off("SIGINT", onStop).off("SIGHUP", onReload);
    },
  };
}
