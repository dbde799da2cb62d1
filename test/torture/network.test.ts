/** Updates over a network that fails: each must end with the announced firmware, or with the old one. */
import { tortureSuite } from "./suite.ts";

tortureSuite("network", 50);
