/** How a key and value of the TOML file become a member of Config: camelCase and milliseconds. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { number, seconds, text, wholeNumber } from "../../src/config/kinds.ts";
import { schema } from "../../src/config/schema.ts";
import {
  type Entry,
  isSection,
  nameInConfig,
  section,
  setting,
  valueInConfig,
} from "../../src/config/setting.ts";

const time = setting(seconds(), 1, "");

describe("the name of a key in Config", () => {
  const names: readonly (readonly [key: string, entry: Entry, name: string])[] = [
    ["url", setting(text(), "", ""), "url"],
    ["cert_file", setting(text(), "", ""), "certFile"],
    ["a_key_of_words", setting(text(), "", ""), "aKeyOfWords"],
    ["rpi_otp", section("", {}), "rpiOtp"],
    ["deadline_s", time, "deadlineMs"],
    ["ask_timeout_s", time, "askTimeoutMs"],
    ["seconds", time, "durationMs"],
    // A rate is not a time: its name keeps the unit.
    ["rate_limit_kib_s", setting(wholeNumber("KiB/s", 0, 9), 0, ""), "rateLimitKibS"],
    ["seconds", setting(number("", 0, 9), 0, ""), "seconds"],
  ];
  for (const [key, entry, name] of names) {
    it(`${key} is ${name}`, () => assert.equal(nameInConfig(key, entry), name));
  }

  it("is used only once in each section of the configuration", () => {
    const visit = (entry: Entry, path: string): void => {
      if (!isSection(entry)) return;
      const inner = Object.entries(entry.entries);
      const namesHere = inner.map(([key, value]) => nameInConfig(key, value));
      assert.equal(new Set(namesHere).size, inner.length, `two keys of [${path}] have one name`);
      for (const [key, value] of inner) visit(value, `${path}.${key}`);
    };
    visit(schema, "");
  });
});

describe("a value in Config", () => {
  it("is in whole milliseconds for a time in seconds", () => {
    assert.equal(valueInConfig(2, time), 2000);
    assert.equal(valueInConfig(0.01, time), 10);
    assert.equal(valueInConfig(1.001, time), 1001); // 1.001 * 1000 is 1000.9999999999999
  });

  it("stays as it is for everything else", () => {
    assert.equal(valueInConfig(2, setting(number("", 0, 9), 0, "")), 2);
    assert.equal(valueInConfig("2", setting(text(), "", "")), "2");
  });
});
