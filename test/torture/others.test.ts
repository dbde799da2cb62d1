/** Updates on boards to which people and programs do what the agent does not expect. */
import { tortureSuite } from "./suite.ts";

tortureSuite("others", 9);
