/**
 * Updates on boards whose disk is full, becomes read-only or has write errors: each round must end with
 * firmware that boots.
 */
import { tortureSuite } from "./suite.ts";

tortureSuite("disk", 25);
