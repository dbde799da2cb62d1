/**
 * Updates on boards whose power and network fail in the same round: each must end with firmware that boots.
 */
import { tortureSuite } from "./suite.ts";

tortureSuite("mixed", 28);
