/**
 * Takes out what must never reach a log, a status or an error message: a URL's user, password and
 * query (signed URLs carry their signature there), and PINs in PKCS#11 URIs.
 */
export function redact(text: string): string {
  return text
    .replace(/\b([a-z][a-z0-9+.-]*:\/\/)[^\s/@"']*@/gi, "$1…@")
    .replace(/\b((?:https?|wss?):\/\/[^\s?#"']*)[?#][^\s"']*/gi, "$1?…")
    .replace(/\b(pin-value=)[^&;\s"']*/gi, "$1…");
}
