/** What a board is made of does not change while it runs: asked once, by systeminformation. */
export async function boardMetadata(): Promise<Record<string, string>> {
  // Some MB, and it starts children: only for what /proc does not say in a line.
  const { osInfo, system } = await import("systeminformation");
  const [board, os] = await Promise.all([system(), osInfo()]);
  const facts = {
    board: [board.manufacturer, board.model].filter((text) => text !== "").join(" "),
    os: [os.distro, os.release].filter((text) => text !== "" && text !== "unknown").join(" "),
    kernel: os.kernel,
  };
  return Object.fromEntries(Object.entries(facts).filter(([, text]) => text !== ""));
}
