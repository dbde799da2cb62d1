"use strict";

// onoff makes one of these for every line, and uses it only to wait for edges of an input. The agent
// has outputs only, and its binary can load no native addon (package.json, "overrides").
exports.Epoll = class Epoll {};
