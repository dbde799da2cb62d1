/** A world for tests: its own time unless told otherwise, no chance, this machine's files and commands. */
import { systemWorld, type World } from "../../src/platform/world.ts";
import { FakeClock } from "./fake-clock.ts";

export function testWorld(differently: Partial<World> = {}): World {
  return { ...systemWorld, clock: new FakeClock(), random: () => 0, ...differently };
}
