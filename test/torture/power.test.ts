/** Updates on boards whose power fails at any change of the disk: each must end with firmware that boots. */
import { tortureSuite } from "./suite.ts";

tortureSuite("power", 55);
