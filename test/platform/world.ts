/** A world for tests: a fake clock, no chance, and this machine's files and commands. */
import { systemWorld, type World } from "../../src/platform/world.ts";
import { FakeClock } from "./fake-clock.ts";

export function testWorld(differently: Partial<World> = {}): World {
  return { ...systemWorld, clock: new FakeClock(), random: () => 0, ...differently };
}
