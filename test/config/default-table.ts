/** All defaults as a file would have them, in the file's names and units. Lists of tables have none. */
import { schema } from "../../src/config/schema.ts";
import { isSection, isTableList, type Section, type Table } from "../../src/config/setting.ts";

export function defaultTable(section: Section = schema): Table {
  return Object.fromEntries(
    Object.entries(section.entries).flatMap(([key, entry]) =>
      isTableList(entry) ? [] : [[key, isSection(entry) ? defaultTable(entry) : entry.initial]],
    ),
  );
}
