import { tortureSuite } from "./suite.ts";

tortureSuite("network", 50);
