/** An error that ends fwup. Its text is that of the `ER` frame, word for word, so it may span lines. */
export class FwupError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "FwupError";
  }
}
