/** The table of an update's states and steps. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { TRANSITIONS, transition, type UpdateEvent, type UpdateState } from "../../src/update/states.ts";

const states = Object.keys(TRANSITIONS) as UpdateState[];
const eventsOf = (state: UpdateState): UpdateEvent[] => Object.keys(TRANSITIONS[state]) as UpdateEvent[];

describe("the update machine", () => {
  it("reaches an end from every state", () => {
    const ends = (state: UpdateState, seen: readonly UpdateState[]): boolean =>
      eventsOf(state).every((event) => {
        const to = transition(state, event);
        if (to === "idle" || to === "installed") return true;
        // A restart leads back to a state that was there before; the engine makes one at most.
        return event === "restarted" || (!seen.includes(to) && ends(to, [...seen, to]));
      });
    for (const state of states) assert.ok(ends(state, [state]), state);
  });

  it("can fail in every state of an update under way", () => {
    for (const state of states.filter((name) => name !== "idle" && name !== "installed")) {
      assert.equal(transition(state, "failed"), "idle", state);
    }
  });

  it("writes nothing before the file is known to be the announced one and the other slot is cleared", () => {
    const path: UpdateState[] = ["idle"];
    for (const event of ["offered", "accepted", "matches", "cleared", "proven", "installed"] as const) {
      path.push(transition(path.at(-1) ?? "idle", event));
    }
    assert.deepEqual(path, ["idle", "deciding", "checking", "clearing", "writing", "finishing", "installed"]);
  });

  it("throws at a step that the table does not have", () => {
    assert.throws(() => transition("idle", "installed"), /nothing is installed while idle/);
    assert.throws(() => transition("installed", "offered"), /while installed/);
  });
});
