import { tortureSuite } from "./suite.ts";

tortureSuite("mixed", 35);
