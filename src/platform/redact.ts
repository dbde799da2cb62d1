/**
 * Takes out what must never reach a log, a status or an error message: a URL's user, password and
 * query (signed URLs carry their signature there), and PINs in PKCS#11 URIs. Takes time in proportion to
 * the text, whatever others have put into it.
 */
export function redact(text: string): string {
  return text.replace(/:\/\/[^\s"]*/g, redactRest).replace(/(pin-value=)[^&;\s"]*/gi, "$1…");
}

/** @param rest of a URL, from its `://` on */
function redactRest(rest: string): string {
  return rest.replace(/^:\/\/[^/?#]*@/, "://…@").replace(/[?#].*/s, "?…");
}
