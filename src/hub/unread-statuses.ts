/**
 * The statuses of updates that the hub may not have read, oldest first. The results among them are kept over restarts
 * of the agent: an update that failed while the line was down would stay under way at the hub for ever.
 */
import type { UpdateStatus } from "./device-messages.ts";

/** A status that the hub may not have read. */
export interface UnreadStatus {
  /** The update's; null when it was not known. */
  readonly uuid: string | null;
  readonly status: UpdateStatus;
}

/** A result that the hub has to hear of. Of an installed update it hears by the join after the reboot as well. */
export interface UnreadResult extends UnreadStatus {
  readonly status: Extract<UpdateStatus, { readonly reason: string }>;
}

/** Keeps the results that the hub may not have read. */
export interface ResultStore {
  /** Those of an earlier agent. */
  readonly unreported: readonly UnreadResult[];
  keepUnreported(results: readonly UnreadResult[]): void;
}

/** More would mean that the hub has read nothing for a whole row of updates. */
const MAX_UNREAD = 16;

export class UnreadStatuses {
  readonly #store: ResultStore | undefined;
  #list: readonly UnreadStatus[];

  /** @param store undefined: they end with the process */
  constructor(store: ResultStore | undefined) {
    this.#store = store;
    this.#list = store?.unreported ?? [];
  }

  get list(): readonly UnreadStatus[] {
    return this.#list;
  }

  add(unread: UnreadStatus): void {
    this.#set([...this.#list.slice(1 - MAX_UNREAD), unread]);
  }

  /** Keeps only those that the test holds for. */
  retain(test: (unread: UnreadStatus) => boolean): void {
    this.#set(this.#list.filter(test));
  }

  #set(list: readonly UnreadStatus[]): void {
    const before = this.#list.filter(isResult);
    const results = list.filter(isResult);
    this.#list = list;
    const same =
      results.length === before.length && results.every((result, index) => result === before[index]);
    if (!same) this.#store?.keepUnreported(results);
  }
}

function isResult(unread: UnreadStatus): unread is UnreadResult {
  return "reason" in unread.status;
}
