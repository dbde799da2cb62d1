import { tortureSuite } from "./suite.ts";

tortureSuite("power", 70);
