/**
 * Every code that a Failure can carry: a stable name for programs, the kind that decides the exit code, and
 * what it means and asks of a person. docs/errors.md is written from this table, so a failure without an
 * entry here can't be thrown. Codes are part of the control socket's contract: one that is there keeps its
 * name and meaning; new ones may come.
 */

/**
 * The kind of a failure, in the terms of sysexits.h.
 *
 * - `usage`: the command line
 * - `no-input`: a file the user named is missing or unreadable as such
 * - `unavailable`: a daemon, server or tool that is needed is not there
 * - `io`: a disk or device refused
 * - `permission`: the operating system refused
 * - `config`: the configuration
 * - `other`: anything else
 */
export type FailureKind = "usage" | "no-input" | "unavailable" | "io" | "permission" | "config" | "other";

/** Exit codes: those of sysexits.h, where one fits. */
export const EXIT_CODES: Readonly<Record<FailureKind, number>> = {
  usage: 64,
  "no-input": 66,
  unavailable: 69,
  io: 74,
  permission: 77,
  config: 78,
  other: 1,
};

interface FailureEntry {
  readonly kind: FailureKind;
  /** One sentence. */
  readonly means: string;
  /** One sentence: the way out. */
  readonly remedy: string;
}

export const FAILURES = {
  ...ofKind("usage", {
    usage: [
      "The command line can't be understood.",
      "Run `hublink --help`; the message names the word at fault.",
    ],
    unknown_method: ["The agent has no such method.", "See docs/control-socket.md."],
    unsupported: ["The request's parameters, or its role, do not fit.", "See docs/control-socket.md."],
  }),
  ...ofKind("config", {
    config: [
      "The configuration can't be used.",
      "`hublink check` lists all mistakes at once, each with its key.",
    ],
    identifier_missing: [
      "Nothing names this board: neither its certificate nor a serial number.",
      "Set `identity.identifier`.",
    ],
    identifier_invalid: [
      "The identifier is empty, too long, or holds characters that can't be sent.",
      "Correct `identity.identifier`, or the file or command it names.",
    ],
    key_unsupported: [
      "The private key is of a type, or in a place, that can't be used this way.",
      "Use EC P-256, EC P-384 or RSA, and the `identity.tls` that the message names.",
    ],
    key_encrypted: [
      "The private key is encrypted, and its passphrase is missing or wrong.",
      "Correct `identity.file.key_passphrase_file`.",
    ],
    key_exists: [
      "A key is there already, and a key is never replaced.",
      "Move it away yourself if the board is to get another.",
    ],
    key_mismatch: [
      "Key and certificate were not made for each other.",
      "Request a certificate with this key: `hublink identity --csr`.",
    ],
    certificate_expired: [
      "The device's own certificate has expired, by the board's clock.",
      "Store a new certificate, or set the clock if it is ahead.",
    ],
    secret_exposed: [
      "A file with a secret is open to others than its owner, or belongs to a user other than root and the agent's.",
      "`chmod 600` the file, and `chown` it to the user that hublink runs as.",
    ],
    secret_missing: [
      "The shared secret is missing, empty or can't be sent.",
      "Set `identity.shared_secret`, or the U-Boot variables.",
    ],
    pin_refused: [
      "The token refused its PIN; it is not tried again, since tokens lock for good.",
      "Correct the PIN file.",
    ],
    token_unusable: [
      "The token or TPM can't use the key.",
      "Correct `identity.pkcs11` or `identity.tpm2`; `hublink check` tries it.",
    ],
    no_public_key: [
      "No public key is there to verify firmware with, so no update is taken.",
      "Set `firmware.public_keys`, or let the hub send its keys.",
    ],
    host_refused: [
      "The hub's URL, or a redirect of it, leads to a host that `firmware.url_hosts` does not name.",
      "Add the host if it is right; else find out why the hub sends it.",
    ],
    led_missing: ["There is no LED of that name.", "Correct `identify.led`."],
    gpio_line_invalid: [
      "The GPIO line does not exist, or more than one chip has it.",
      "Correct `watchdog.gpio.line`; the message lists the chips.",
    ],
    watchdog_invalid: ["`watchdog.device` is not a watchdog.", "Name a device such as /dev/watchdog0."],
    socket_invalid: [
      "The control socket can't be made at its path.",
      "Name another path in `state.control_socket`.",
    ],
  }),
  ...ofKind("no-input", {
    no_input: ["A file that was named can't be used.", "Correct the path or the file."],
    key_missing: [
      "No private key or certificate is where the configuration says.",
      "Store it there; `hublink identity --generate` makes a key.",
    ],
    key_invalid: [
      "The file or variable of the private key is damaged, or contains something else.",
      "Store a PKCS#8, SEC1 or PKCS#1 key, PEM or DER.",
    ],
    certificate_invalid: [
      "There is no usable X.509 certificate.",
      "Store the certificate as PEM or DER, with its intermediates behind it.",
    ],
  }),
  ...ofKind("unavailable", {
    unavailable: [
      "A program, server or device that is needed is not there.",
      "The message names it; install, start or connect it.",
    ],
    hub_unreachable: [
      "No connection to the hub can be made.",
      "The message names DNS, network, TLS or the hub; it is tried again for ever.",
    ],
    hub_refused: [
      "The hub answered and refused the connection.",
      "Check the identity, and that the hub knows this device.",
    ],
    hub_untrusted: [
      "The hub's certificate is not one this board trusts.",
      "Check `hub.url`, `hub.ca_file` and the board's clock.",
    ],
    frame_invalid: [
      "The hub sent a message that can't be read.",
      "The message is dropped; report it with the hub's version.",
    ],
    proxy_failed: [
      "The proxy does not answer or does not let the connection through.",
      "Check `hub.proxy` or `HTTPS_PROXY`.",
    ],
    tls_helper_failed: [
      "stunnel, which does TLS for keys in a chip, is missing or failed.",
      "Install stunnel 5.60 or later; `hublink check` tries it.",
    ],
    url_expired: [
      "The server no longer gives the file under this URL.",
      "The agent asks the hub for a fresh URL; for `apply`, name another.",
    ],
    download_refused: [
      "The URL, or the server's answer, is not one to follow.",
      "Use an http or https URL that does not redirect from https to http.",
    ],
    download_interrupted: [
      "One attempt at a download ended early.",
      "The next attempt goes on from the last byte.",
    ],
    download_gave_up: [
      "Too many attempts in a row brought no new byte.",
      "Check the line; `update.retry` sets how many there are.",
    ],
    download_timed_out: [
      "The download took longer than it may.",
      "Raise `update.retry.total_timeout_s`, or find what slows the line.",
    ],
    file_changed: [
      "The server's file changed while it was downloaded.",
      "The download starts over; publish a new file under a new name.",
    ],
    fwup_missing: ["fwup can't be started.", "Install it, or correct `firmware.fwup`."],
    slots_unknown: [
      "The boot environment does not show which slots the board has.",
      "Correct `firmware.uboot_env_config` or `firmware.metadata`.",
    ],
    update_in_progress: ["An update is under way.", "Wait until it has ended."],
    reboot_pending: ["An installed update waits for its reboot.", "Reboot the board first."],
    slot_contended: [
      "Somebody else installed firmware into the slot that an update was being written to.",
      "Install once more; the slot that runs was kept, and the other one was made invalid.",
    ],
    failed_lately: [
      "The firmware failed a short time ago, so the board leaves it alone for now.",
      "Wait, mend the firmware, or install it by `hublink apply SOURCE`.",
    ],
    already_running: ["The firmware that was offered is the one that runs.", "Nothing is to be done."],
    downgrade_refused: [
      "The firmware that was offered is older than the one that runs.",
      "Set `update.allow_downgrade`, or install it by `hublink apply SOURCE`.",
    ],
    command_failed: [
      "A command that is configured can't be run, or ended with an error.",
      "Run it by hand; the message holds its own words.",
    ],
    device_busy: ["A device is in use by another program.", "Free it there; only one program can hold it."],
    gpio_unavailable: [
      "GPIO can't be reached.",
      "Add CONFIG_GPIO_SYSFS to the kernel, or install libgpiod's tools.",
    ],
    daemon_unreachable: [
      "No hublink daemon answers on the control socket.",
      "Start `hublink run`, or correct `state.control_socket`.",
    ],
    not_connected: ["The hub is not connected.", "Try again when it is."],
    hub_unanswered: [
      "The hub gave no answer to a question of the board.",
      "Hubs before device API 2.4.0 know no such question; else try again.",
    ],
    controller_taken: ["Another application is the controller.", "Only one can be; connect as an observer."],
  }),
  ...ofKind("io", {
    io: [
      "A disk or device refused to be read or written.",
      "Check the device and its free space; `dmesg` may say more.",
    ],
    cache_failed: [
      "The download cache can't be used; the update is streamed.",
      "Free space in `update.cache_dir`, or set `update.mode` to `stream`.",
    ],
    fwup_stalled: [
      "fwup took no byte and reported no progress for `update.stall_s`.",
      "The disk may be failing.",
    ],
    environment_damaged: [
      "The U-Boot environment can't be read.",
      "Check fw_env.config and the device it names.",
    ],
  }),
  ...ofKind("permission", {
    update_mode_refused: [
      "The hub does not let this board choose who starts its updates.",
      "Its operators can allow that, for the product or the device.",
    ],
    permission: [
      "The operating system refused.",
      "Run hublink as root or as the file's owner; docs/board.md says what another user needs.",
    ],
  }),
  ...ofKind("other", {
    failed: ["Something failed that has no closer code.", "The message says what; see the log."],
    part_wrong: [
      "A part of the file does not have the checksum that was announced.",
      "It is fetched again; if it stays wrong, publish the firmware again.",
    ],
    checksum_wrong: [
      "The file does not have the checksum that was announced.",
      "Publish the firmware again; something changed it on its way.",
    ],
    size_wrong: ["The file is longer or shorter than announced.", "Publish the firmware again."],
    announcement_invalid: [
      "The hub's announcement of the firmware contradicts itself.",
      "Report it with the hub's version.",
    ],
    firmware_mismatch: [
      "The firmware is not the one announced, or not one for this board.",
      "Check product, platform and architecture of the firmware.",
    ],
    metadata_invalid: ["The firmware's metadata can't be read.", "Name a .fw file as fwup makes it."],
    fwup_busy: ["Another fwup is at work.", "Wait until it has ended."],
    fwup_refused: [
      "fwup refused the firmware and said why.",
      "A wrong signature, a damaged or unfit archive: build or sign it again.",
    ],
    wrong_target: [
      "The firmware is for another product, platform or architecture than the one that runs.",
      "Take the file for this board; `hublink apply SOURCE --force` installs it all the same.",
    ],
    fwup_killed: [
      "The system killed fwup, most likely because memory ran out.",
      "See `dmesg`; the update is tried again.",
    ],
    fwup_crashed: ["fwup ended without a reason.", "See the log and `dmesg`."],
    fwup_unproven: [
      "fwup finished, but the end of the file was not as announced.",
      "The running slot stays active; publish the firmware again.",
    ],
    stopped: ["The agent was stopped before it was done.", "Start it; it goes on."],
    reboot_failed: ["No way to reboot the board had an effect.", "Cut its power."],
  }),
} as const;

/** A stable name for what went wrong; docs/errors.md lists all. */
export type FailureCode = keyof typeof FAILURES;

/** Each as [what it means, the way out], one sentence each. The first code of a kind is for what has no closer one. */
function ofKind<const Code extends string>(
  kind: FailureKind,
  entries: Readonly<Record<Code, readonly [means: string, remedy: string]>>,
): Readonly<Record<Code, FailureEntry>> {
  const described = Object.entries<readonly [string, string]>(entries).map(
    ([code, [means, remedy]]) => [code, { kind, means, remedy }] as const,
  );
  return Object.fromEntries(described) as Record<Code, FailureEntry>;
}
