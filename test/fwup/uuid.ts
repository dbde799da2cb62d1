/** The UUID and nickname of a firmware, as fwup computes them. */
import { createBlake2b } from "./blake2b.ts";

/** fwup's namespace for the UUIDs of firmware. */
const NAMESPACE = Buffer.from("2053dffbd51e4310b93b956da89f9f34", "hex");

/**
 * The UUID and nickname of a firmware: they follow from its meta.conf alone, so that neither signing
 * nor turning it into a delta changes them.
 */
export async function firmwareUuid(metaConf: Uint8Array): Promise<{ uuid: string; nickname: string }> {
  const hash = await createBlake2b();
  hash.update(NAMESPACE);
  hash.update(metaConf);
  const digest = hash.digest();
  digest[6] = (digest.readUInt8(6) & 0x0f) | 0x50; // RFC 4122: version 5
  const uuid = digest.toString("hex", 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  return { uuid, nickname: `${word(digest.readUInt8(0))}-${word(digest.readUInt8(1))}` };
}

function word(index: number): string {
  return WORDS[index] ?? "";
}

// The words of fwup 1.16.0 (src/util.c, Apache-2.0), one for each byte.
const WORDS: readonly string[] = `
  act able about absent abandon add away aisle advice address aim best anger annual analyst all bone
  armor assume apology arm cake beach barrel average ask chat bless bitter bargain bar club brick
  bronze blanket bid corn cabin camera capital boy dash chalk casual certain can dice civil cherry
  coconut cat drip cloud column conduct cup east craft credit crucial day fall curve debris cushion
  dry fine dream depend despair egg foil earth dinner dilemma era gain entry dragon dynamic fan glad
  exist energy emotion few grit field estate essence fix head focus expire exhibit fog hood gauge
  finger fatigue fox idea glove fossil forward gap jump grunt garlic genuine hat kiwi hello guitar
  gravity hip lazy inner horror illness ice link labor indoor initial job loop light invest jealous
  key math maple laptop lecture kid mind mimic lonely lottery lab name nasty margin mention mad nose
  offer middle monitor mix open owner motion network net pass piano nephew observe nut plug power
  online ostrich oak pulp purse palace peasant oil ramp ready phrase popular one ring round praise
  present pen safe scrap reason program pig seed shock relief pudding raw sign skill resist raccoon
  rug slot snack ripple release run soon spawn salute satisfy say step spray select session shy tape
  still silver slender spy text super sphere stomach tag tiny table street supreme tip trip tired
  symbol thunder toe undo trade ticket trigger toy visa truth travel uncover two wasp vague unfold
  utility van wild vivid valley vibrant web yard zebra voyage weather zoo
`
  .trim()
  .split(/\s+/);
