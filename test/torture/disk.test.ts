import { tortureSuite } from "./suite.ts";

tortureSuite("disk", 25);
