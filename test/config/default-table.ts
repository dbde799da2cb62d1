/** The defaults as a file would say them: in the file's names and units, every key there. */
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
