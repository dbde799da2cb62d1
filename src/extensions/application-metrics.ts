import type { Metrics } from "./health-metrics.ts";

/** Numbers that an application publishes for the health report; the last value of each counts. */
export interface ApplicationMetrics {
  readonly values: Metrics;
  /** @returns what is wrong with them; then none is taken */
  merge(values: Metrics): string | undefined;
}

const MAX_NAMES = 64;
const NAME = /^[A-Za-z0-9_.:-]{1,64}$/;

export function createApplicationMetrics(): ApplicationMetrics {
  let values: Metrics = {};
  return {
    get values() {
      return values;
    },
    merge(added) {
      for (const [name, value] of Object.entries(added)) {
        if (!NAME.test(name)) return "a metric's name has 1 to 64 letters, digits, or any of _ . : -";
        if (!Number.isFinite(value)) return `${name} is not a finite number`;
      }
      const merged = { ...values, ...added };
      if (Object.keys(merged).length > MAX_NAMES) return `more than ${MAX_NAMES} metrics`;
      values = merged;
      return undefined;
    },
  };
}
