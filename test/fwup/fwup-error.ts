/** What fwup would end with: its text is the `ER` frame, word for word, so it may span lines. */
export class FwupError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "FwupError";
  }
}
