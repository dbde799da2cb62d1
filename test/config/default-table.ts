/** All defaults as a file would have them, in the file's names and units. */
import { schema } from "../../src/config/schema.ts";
import { isSection, type Section, type Table } from "../../src/config/setting.ts";

export function defaultTable(section: Section = schema): Table {
  return Object.fromEntries(
    Object.entries(section.entries).map(([key, entry]) => [
      key,
      isSection(entry) ? defaultTable(entry) : entry.initial,
    ]),
  );
}
