/**
 * Every setting, once. scripts/docs.ts writes the reference and the example from this table, so its texts are read
 * by the engineer who configures a board.
 */
import {
  arrayOf,
  checkedText,
  choice,
  COMPONENT_NAME,
  COMPONENT_TEXT,
  flag,
  hostPattern,
  hubAddress,
  METRIC_NAME,
  number,
  proxyAddress,
  seconds,
  sources,
  text,
  variables,
  wholeNumber,
  wholeSeconds,
} from "./kinds.ts";
import { section, setting, tables, type Values } from "./setting.ts";

const path = text("a path");
const neededPath = text("a path", /./);
const command = text("a command line for /bin/sh");
const neededCommand = text("a command line for /bin/sh", /./);
const setCommand = text('a command line for /bin/sh that uses the value, "$1"', /\$(?:1|\{1|@|\*)/);
const componentName = text("a name of 1 to 64 letters, digits, - and _", COMPONENT_NAME);
const componentLabel = text("text of at most 64 characters", new RegExp(`${COMPONENT_TEXT.source}|^$`, "u"));
const componentValue = text("text of 1 to 64 characters", COMPONENT_TEXT);
const metricName = text("the name of a metric", METRIC_NAME);
const answer = choice("apply", "ignore", "reschedule");

// fwup's private keys are longer than its public ones. One that is pasted here by mistake is refused, and the
// setting is marked secret so that the error does not show it.
const publicKey = text("an Ed25519 public key as fwup writes it, 32 bytes in base64", /^[A-Za-z0-9+/]{43}=$/);

const timeWindow = text(
  'a time window such as "02:00-05:00"',
  /^((?:[01]\d|2[0-3]):[0-5]\d)-(?!\1)(?:[01]\d|2[0-3]):[0-5]\d$/,
);

/**
 * Everything that can be configured. The type `Config`, the defaults, the check, the environment
 * overrides, docs/configuration.md and config.example.toml all come from this table.
 */
export const schema = section("", {
  hub: section("The link to NervesHub.", {
    url: setting(
      hubAddress,
      "",
      "Address of the hub. Without a path, the path follows from the way of authenticating; a path given here is kept. A bare host name means wss://, and https:// is taken as wss://. ws:// is unencrypted: for a hub on a bench only.",
      { example: "wss://devices.example.com" },
    ),
    topic: setting(text("a topic name", /./), "device", "Name of the channel the device joins."),
    serializer: setting(
      choice("json", "msgpack"),
      "json",
      "Encoding of messages. msgpack needs a hub that speaks Phoenix vsn 3.0.0; where it is refused, json is spoken.",
    ),
    compress: setting(
      flag,
      true,
      "Offer permessage-deflate. Turn it off on boards where a few hundred KiB of memory matter more than traffic.",
    ),
    heartbeat_s: setting(
      seconds(0.01, 3600),
      30,
      "Time between heartbeats. A link that is silent for two of them is torn down; NervesHub itself drops a device that is silent for 180 s.",
    ),
    server_name: setting(
      text("a host name"),
      "",
      "Name for SNI and for the check of the hub's certificate, if it is not the host in url.",
    ),
    ca_file: setting(
      path,
      "",
      "PEM file with the CA certificates to trust for the hub. Default: the system's store, then the built-in one.",
    ),
    proxy: setting(
      proxyAddress,
      "",
      "HTTP proxy for the socket and for downloads; it must allow CONNECT, for unencrypted URLs too. Default: HTTPS_PROXY and HTTP_PROXY of the environment, which are not used for addresses of this machine itself. Hosts in NO_PROXY are reached without a proxy in either case; docs/network.md says what it may hold.",
      { secret: true },
    ),
    status_dialect: setting(
      choice("current", "seed"),
      "current",
      "Words used for the update's status: those of today's NervesHub, or of the first protocol (\"seed\").",
    ),
    reconnect: section(
      "Delays between attempts to connect. Each one is random; the longest possible one doubles from min_s to max_s. docs/board.md says when the board waits for how long.",
      {
        min_s: setting(
          seconds(0.01, 86_400),
          1,
          "Longest first delay: after a start, and when the reason is this board's own (its network, or an operator who asks it to reconnect). Must not be above max_s.",
        ),
        max_s: setting(seconds(0.01, 86_400), 60, "Longest delay."),
        spread_s: setting(
          seconds(0, 86_400),
          30,
          "After a connection that held for a minute, the first delay is drawn from 0 to this, and later ones double from it to max_s; it counts up to max_s only. A whole fleet that loses its hub comes back spread over this time. For a few boards, 0 brings each one back within min_s.",
        ),
        jitter: setting(
          number("", 0, 1),
          1,
          "Share of each delay that is random: 1 draws a delay from 0 to the longest possible one, 0.5 from the upper half, 0 takes the longest. The delay of spread_s is always drawn from 0.",
        ),
      },
    ),
  }),

  identity: section("Who the board is, and where its key lives.", {
    source: setting(
      choice("file", "env", "uboot-env", "pkcs11", "tpm2", "rpi-otp", "shared-secret"),
      "file",
      "Where the key comes from; the section of the same name says more (uboot_env, rpi_otp, shared_secret with an underscore).",
    ),
    identifier: setting(
      text('text, "file:PATH" or "command:COMMAND"'),
      "",
      'The device\'s identifier: the text itself, "file:PATH" for the content of a file, "command:COMMAND" for the first line a command prints. Default: the certificate\'s CN, else the first serial number found (device tree, cpuinfo, boardid, machine-id).',
    ),
    tls: setting(
      choice("auto", "direct", "helper", "engine"),
      "auto",
      "Who does TLS with the key: this process (direct), a stunnel child (helper) or an OpenSSL engine (engine). auto: direct for keys that can be read, helper for keys that cannot.",
    ),
    file: section('Certificate and key in files (source = "file").', {
      cert_file: setting(
        path,
        "",
        "The device's certificate, PEM or DER; intermediates may follow in the same PEM file.",
        { example: "/etc/hublink/device-cert.pem" },
      ),
      key_file: setting(
        path,
        "",
        "Its private key, PEM or DER: PKCS#8, SEC1 or PKCS#1. Readable by its owner only.",
        { example: "/etc/hublink/device-key.pem" },
      ),
      key_passphrase_file: setting(
        path,
        "",
        "File with the passphrase of an encrypted key. Readable by its owner only.",
      ),
    }),
    env: section('Certificate and key in environment variables (source = "env").', {
      cert: setting(
        text("the name of a variable"),
        "",
        "Name of the variable with the certificate, PEM or base64 DER.",
      ),
      key: setting(
        text("the name of a variable"),
        "",
        "Name of the variable with the private key, PEM or base64 DER.",
      ),
    }),
    uboot_env: section('Certificate and key in the U-Boot environment (source = "uboot-env").', {
      cert: setting(
        text("the name of a variable", /./),
        "nerves_hub_cert",
        "Name of the U-Boot variable with the certificate.",
      ),
      key: setting(
        text("the name of a variable", /./),
        "nerves_hub_key",
        "Name of the U-Boot variable with the private key.",
      ),
    }),
    pkcs11: section('A key that stays in a token (source = "pkcs11").', {
      module: setting(path, "", "The token's PKCS#11 library."),
      uri: setting(
        text("a pkcs11: URI", /^(pkcs11:.*)?$/s),
        "",
        'RFC 7512 URI of the key, such as "pkcs11:token=agent;id=%01;type=private". The PIN does not belong here: see pin_file.',
        { secret: true },
      ),
      pin_file: setting(path, "", "File with the token's PIN. Readable by its owner only."),
      cert_file: setting(
        path,
        "",
        "The certificate, PEM or DER. Default: the one in the token, under the key's id or label, read with pkcs11-tool.",
      ),
    }),
    tpm2: section('A key that stays in a TPM 2.0 (source = "tpm2").', {
      key: setting(
        path,
        "",
        "TSS2 PEM file of the key (BEGIN TSS2 PRIVATE KEY), of no use without this TPM.",
      ),
      cert_file: setting(path, "", "The certificate, PEM or DER."),
      tcti: setting(
        text("a TCTI"),
        "device:/dev/tpmrm0",
        "How the TPM is reached. The resource manager (tpmrm0) lets other programs use it too.",
      ),
    }),
    rpi_otp: section('The P-256 key in a Raspberry Pi\'s OTP memory (source = "rpi-otp").', {
      cert_file: setting(path, "", "The certificate, PEM or DER."),
    }),
    shared_secret: section('A key and secret of the product or device (source = "shared-secret").', {
      key: setting(
        text("a shared secret's key"),
        "",
        "The key (nhp_… for a product). Key and secret_file are given both or neither; with neither, the U-Boot variables nh_shared_key and nh_shared_secret are used, else nh_shared_product_key and nh_shared_product_secret.",
        { secret: true },
      ),
      secret_file: setting(path, "", "File with the secret. Readable by its owner only."),
    }),
  }),

  firmware: section("Where firmware goes, and who may have signed it.", {
    devpath: setting(
      path,
      "",
      "Device or image file that fwup writes to. Default: nerves_fw_devpath of the U-Boot environment, else /dev/mmcblk0.",
    ),
    task: setting(
      text("the name of a task", /./),
      "upgrade",
      "fwup task that installs; fwup picks the one whose name starts with it and whose conditions hold.",
    ),
    fwup: setting(neededPath, "fwup", "The fwup program: a path, or a name to look up in PATH."),
    fwup_args: setting(arrayOf(text()), [], "Further arguments for fwup when it installs."),
    fwup_env: setting(variables, {}, "Environment variables for fwup, as its configuration file uses them.", {
      secret: true,
    }),
    ca_file: setting(
      path,
      "",
      "PEM file with the CA certificates to trust for servers of firmware and archives, instead of all others. Default: the system's store, then the built-in one, and hub.ca_file.",
    ),
    url_hosts: setting(
      arrayOf(hostPattern),
      [],
      "Hosts from which files of the hub (firmware, archives) may be fetched, and to which they may be redirected. example.com is this host on any port, example.com:443 on this port, *.example.com (or .example.com) all names below it. Empty: any host. See docs/network.md.",
    ),
    public_keys: setting(
      arrayOf(publicKey),
      [],
      "Keys that firmware may be signed with (the content of fwup-key.pub). When set, keys from the hub are not used.",
      { secret: true },
    ),
    trust_hub_keys: setting(
      flag,
      true,
      "With no public_keys: accept the keys the hub sends. With false and no public_keys every update is refused.",
    ),
    metadata: setting(
      text('"uboot-env" or "file:PATH"', /^(uboot-env|file:.+)$/s),
      "uboot-env",
      'Where the running firmware\'s metadata is: the U-Boot environment, or a file of key=value lines ("file:/etc/hublink/firmware.env") on boards without one.',
    ),
    uboot_env_config: setting(
      neededPath,
      "/etc/fw_env.config",
      "Says where the U-Boot environment is stored, as for fw_printenv.",
    ),
    ops_file: setting(
      path,
      "/usr/share/fwup/ops.fw",
      "Archive with the fwup tasks validate and revert. Without it the U-Boot variables are written directly.",
    ),
  }),

  update: section("How updates are fetched and when they are applied.", {
    mode: setting(
      choice("auto", "stream", "cache"),
      "auto",
      "stream: straight into fwup, needs no disk. cache: to cache_dir first, goes on after a reboot; streamed all the same while the disk is full or read-only. auto: cache when cache_dir has room for the file, else stream.",
    ),
    cache_dir: setting(
      neededPath,
      "/data/hublink/firmware",
      "Folder for downloads in cache mode. It holds one firmware at most.",
    ),
    connections: setting(wholeNumber("", 1, 16), 1, "Ranges fetched side by side in cache mode."),
    rate_limit_kib_s: setting(
      number("KiB/s", 0, 1_048_576),
      0,
      "Upper limit of the download's speed, over all connections. 0: none.",
    ),
    window: setting(
      arrayOf(timeWindow),
      [],
      'Times of day in which updates may begin, such as "02:00-05:00"; "22:00-04:00" spans midnight. In the board\'s time zone, by the hub\'s clock. Outside of them an update is rescheduled. Empty: always. See docs/updates.md.',
    ),
    policy_command: setting(
      command,
      "",
      "Is asked before each update and gets it as JSON on stdin. Exit code 0: apply; 75: reschedule (first line of stdout: minutes, rest: reason); anything else: ignore (what it printed is the reason). It has 60 s. See docs/updates.md.",
    ),
    stall_s: setting(
      seconds(),
      600,
      "fwup is ended when it takes no byte and reports no progress for this long. Slow is not stalled.",
    ),
    allow_downgrade: setting(flag, true, "Install firmware whose version is lower than the running one's."),
    verify_written: setting(
      flag,
      false,
      "Have fwup read back what it writes and compare (--verify-writes, fwup 1.7.0 or later). false: as fwup does by itself, which is to verify on device nodes and not on image files.",
    ),
    retry: section("What a download does when the network fails.", {
      attempts: setting(
        wholeNumber("", 1, 10_000),
        10,
        "Attempts in a row without a new byte before it fails.",
      ),
      delay_s: setting(
        seconds(0),
        15,
        "First delay between attempts, on average: each one is random, from 0 to twice as long. It doubles up to 10 minutes, and starts over once bytes came. It follows the time that a server asks for with Retry-After.",
      ),
      idle_timeout_s: setting(seconds(), 60, "An attempt ends when no byte comes for this long."),
      total_timeout_s: setting(seconds(), 86_400, "The whole download ends after this."),
      min_rate_bytes_s: setting(
        number("bytes/s", 0, 1_000_000_000),
        3750,
        "A connection that gives less than this, over a minute of waiting for it, is replaced. 0: no floor.",
      ),
    }),
  }),

  validation: section("When new firmware counts as good.", {
    mode: setting(
      choice("auto", "manual"),
      "auto",
      "auto: when the agent has joined the hub and command, if any, has succeeded. manual: when `hublink validate` or the application says so.",
    ),
    command: setting(
      command,
      "",
      "A check of your own; exit code 0 means good. It is tried again until the deadline.",
    ),
    deadline_s: setting(
      seconds(),
      600,
      "Firmware that is not good by then is given up: the board reboots and the boot loader falls back.",
    ),
  }),

  app: section(
    "Questions to the application on the board, over the control socket: see docs/control-socket.md.",
    {
      update: setting(
        choice("apply", "ask"),
        "apply",
        "Whether the application is asked before an update of the hub's.",
      ),
      reboot: setting(
        choice("immediate", "ask", "never"),
        "immediate",
        "What happens when a hub's update is installed: reboot at once, ask the application, or leave the reboot to it and to people (never; max_defer_s doesn't count then). Reboots that the hub or a person asks for happen in any case.",
      ),
      // NervesHub gives up an update that is silent for 30 minutes.
      ask_timeout_s: setting(seconds(0.01, 1500), 30, "How long the application has to answer."),
      on_timeout: setting(
        answer,
        "apply",
        "What counts as its answer when none came, or none that makes sense. For a reboot, ignore and reschedule both mean: ask again in 5 minutes.",
      ),
      on_no_controller: setting(
        answer,
        "apply",
        "What counts as its answer when no application is connected as controller.",
      ),
      max_defer_s: setting(
        seconds(),
        86_400,
        "A deferred reboot happens this long after the update was installed, even if the application defers it again.",
      ),
    },
  ),

  reboot: section("How the board is rebooted.", {
    methods: setting(
      arrayOf(choice("gpio-watchdog", "syscall"), 1),
      ["syscall"],
      "Tried in order: gpio-watchdog lets the external watchdog of [watchdog.gpio] reset the board, syscall asks the system. sysrq is always the last.",
    ),
    grace_s: setting(seconds(0, 3600), 5, 'Time for "rebooting" to reach the hub and for the disks to sync.'),
    escalate_s: setting(
      seconds(0.01, 3600),
      30,
      "If the board is still up after this, the next method is used.",
    ),
    command: setting(command, "", "What syscall runs. Default: reboot, then reboot -f."),
  }),

  watchdog: section("Watchdogs, fed only while the agent's own checks pass.", {
    device: setting(path, "", "Kernel watchdog to feed, such as /dev/watchdog. Empty: none."),
    command: setting(
      command,
      "",
      "The application's own check, run once a minute for at most 30 s: when it fails three times in a row, the watchdogs are not fed until it succeeds again.",
    ),
    gpio: section("An external watchdog on a GPIO line.", {
      line: setting(
        text('a GPIO line such as "17", "GPIO17" or "pinctrl-bcm2835:17"', /^((GPIO)?\d+|[^\s:]+:\d+)?$/),
        "",
        "The line: the number on the header, not the one in sysfs, with the chip's label in front if there are several chips, or its device, such as fe200000.gpio, where two have one label. Empty: none.",
      ),
      active_low: setting(flag, false, "The line is asserted when it is low."),
      mode: setting(
        choice("toggle", "pulse"),
        "toggle",
        "toggle: the line changes each period_ms, and the watchdog resets the board when it stops. pulse: the line is asserted for pulse_ms to reset the board.",
      ),
      period_ms: setting(
        wholeNumber("milliseconds", 1, 3_600_000),
        1000,
        "Time between changes of the line.",
      ),
      pulse_ms: setting(
        wholeNumber("milliseconds", 1, 3_600_000),
        200,
        "Length of the pulse that resets the board.",
      ),
    }),
  }),

  connectivity: section("For a board that has lost its hub but not its power.", {
    after_s: setting(
      seconds(0),
      0,
      "After this time without the hub, and up to a tenth more so that a fleet doesn't act at once, command is run, and if that doesn't help within a minute the board is rebooted. 0: off.",
    ),
    command: setting(command, "", "Is run first, to bring the network back; five minutes at most."),
    per_day: setting(
      wholeNumber("", 1, 1440),
      4,
      "How often the board may be rebooted for this in a day. The number does not limit how often command is run.",
    ),
  }),

  console: section("The hub's remote console: a shell, and files both ways.", {
    enabled: setting(flag, false, "Let the hub open a shell on this board."),
    shell: setting(neededPath, "/bin/sh", "Program that is started."),
    user: setting(
      text("the name of a user", /^([^\s:/-][^\s:/]*)?$/),
      "",
      "User it runs as, as after a login; the agent has to run as root then. Default: the agent's own.",
    ),
    idle_timeout_s: setting(seconds(), 300, "A session ends when nothing is typed for this long."),
    upload_dir: setting(neededPath, "/data/hublink/uploads", "Folder for files that are sent to the board."),
    max_upload_mib: setting(number("MiB", 0, 1_048_576), 64, "Larger files are refused, both ways."),
  }),

  scripts: section("Support scripts, sent by the hub's users.", {
    enabled: setting(flag, false, "Let the hub run scripts on this board."),
    interpreter: setting(
      arrayOf(text(), 1),
      ["/bin/sh"],
      "Program with its arguments that runs a script without a #! line.",
    ),
    timeout_s: setting(
      seconds(),
      10,
      "A script is ended after this, and after 14 in any case: NervesHub forgets it after 15. Only a connecting code may take longer.",
    ),
    max_output_kib: setting(number("KiB", 0, 1024), 256, "Output past this is dropped."),
  }),

  archives: section("Archives: files that come with a deployment, beside the firmware.", {
    enabled: setting(
      flag,
      false,
      "Fetch archives signed with firmware.public_keys, else with the hub's keys.",
    ),
    dir: setting(
      neededPath,
      "/data/hublink/archives",
      "Folder they are stored in, as UUID.fw. It holds the newest one: older ones are removed when its ready_command has succeeded.",
    ),
    ready_command: setting(
      command,
      "",
      "Is run once when an archive is complete and its signature verified, with HUBLINK_ARCHIVE_PATH, _UUID and _VERSION. When it fails, it is run again at the next join.",
    ),
  }),

  identify: section("What shows which board it is when the hub asks.", {
    led: setting(
      text("the name of an LED", /^[^/]*$/),
      "",
      "LED to blink: a name under /sys/class/leds. Empty: none.",
    ),
    command: setting(
      command,
      "",
      "Is run instead of, or beside, the LED, with HUBLINK_IDENTIFY_SECONDS; a minute longer than that at most.",
    ),
    seconds: setting(seconds(0.01, 3600), 10, "How long the LED blinks."),
  }),

  extensions: section("NervesHub's extensions.", {
    alarms: setting(
      flag,
      false,
      "Report alarms when they are raised and cleared, instead of with the next health report.",
    ),
    health: setting(
      flag,
      true,
      "Report load, memory, disk, temperature, traffic and alarms when the hub asks.",
    ),
    geo: setting(flag, false, "Report where the board is; geo.source says how it knows."),
    local_shell: setting(
      flag,
      false,
      "Let the hub open a shell through the local-shell extension: shell, user and idle_timeout_s are those of [console].",
    ),
    logging: setting(flag, false, "Send log lines to the hub: 5 a second, the rest is counted."),
    metrics: setting(
      flag,
      false,
      "Report the numbers of health with the time of each, also those from while there was no hub; metrics.interval_s says how often they are read.",
    ),
    network_identity: setting(
      flag,
      false,
      "Report the board's names in VPNs; network_identity.services says which.",
    ),
    error_reports: setting(
      flag,
      false,
      "Report unexpected errors: the agent's own and its crashes, kernel panics and resets by a watchdog, and those of applications.",
    ),
    components: setting(
      flag,
      false,
      "Let the application on the board declare components, over the control socket. Those of [[component]] are shown in any case.",
    ),
  }),

  geo: section("How the board knows where it is (extensions.geo).", {
    source: setting(
      checkedText(
        '"LATITUDE,LONGITUDE", "command:COMMAND" or an http(s) URL',
        (source) => /^(command:.|https?:\/\/.)/s.test(source) || /^-?[\d.]+, *-?[\d.]+$/.test(source),
      ),
      "",
      'The place itself ("47.37,8.54"); "command:COMMAND" for a command, or the URL of a service, that gives "LATITUDE,LONGITUDE" or JSON with latitude and longitude.',
      { secret: true },
    ),
  }),

  logging: section("What extensions.logging sends besides the agent's own log.", {
    command: setting(command, "", "Each line it prints is sent, such as those of `logread -f`."),
  }),

  metrics: section("How often extensions.metrics measures.", {
    interval_s: setting(
      wholeSeconds(0, 86_400),
      60,
      "Between two readings, whether there is a hub or not. 0: only when the hub asks.",
    ),
  }),

  network_identity: section("The board's names in VPNs (extensions.network_identity).", {
    services: setting(
      sources,
      {},
      'By service (tailscale, netbird, wireguard, iroh), with "/INSTANCE" where there are several: the name itself, "command:COMMAND" for the first line it prints, or "json:POINTER COMMAND", such as "json:/Self/ID tailscale status --json". At most 10.',
    ),
  }),

  component: tables(
    "A part of the board that the hub's page shows, with buttons and choices in place of a shell. docs/extensions.md says more.",
    32,
    {
      identifier: setting(componentName, "", "Its name, which no other component has.", {
        needed: true,
        example: "pump",
      }),
      label: setting(componentLabel, "", "What people read. Default: the identifier.", { example: "Pump" }),
      metrics: setting(
        arrayOf(metricName, 0, 20),
        [],
        "Metrics that belong to it, such as those that the application publishes.",
        { example: ["pump_rpm"] },
      ),
      timeout_s: setting(
        seconds(0.1, 600),
        30,
        "A command that takes longer is ended with everything it started.",
      ),
      action: tables("A button of the component above.", 16, {
        identifier: setting(componentName, "", "Its name, which no other action of the component has.", {
          needed: true,
          example: "restart",
        }),
        label: setting(componentLabel, "", "What people read. Default: the identifier.", {
          example: "Restart",
        }),
        confirm: setting(flag, false, "The hub's page asks before it sends the request.", { example: true }),
        command: setting(
          neededCommand,
          "",
          "What it does. The hub gets its output, 8192 characters at most.",
          {
            needed: true,
            example: "/etc/init.d/pump restart",
          },
        ),
      }),
      mode: tables("A choice between values, of the component above.", 16, {
        identifier: setting(componentName, "", "Its name, which no other mode of the component has.", {
          needed: true,
          example: "speed",
        }),
        label: setting(componentLabel, "", "What people read. Default: the identifier.", {
          example: "Speed",
        }),
        values: setting(
          arrayOf(componentValue, 1, 32),
          [],
          "The values that can be chosen; every other one is refused.",
          { needed: true, example: ["low", "high"] },
        ),
        get: setting(
          command,
          "",
          "Prints the value that is set now, for the health report. Empty: the page shows none.",
          { example: "pumpctl speed" },
        ),
        set: setting(setCommand, "", 'Sets the value, which it gets as an argument: "$1".', {
          needed: true,
          example: 'pumpctl speed "$1"',
        }),
      }),
    },
  ),

  clock: section("For boards that start in 1970.", {
    guard: setting(
      flag,
      true,
      "Keep the last known time in the state folder and never run behind it or behind the build date; the system clock is set where permitted. See docs/board.md.",
    ),
  }),

  log: section("What the agent writes about itself.", {
    level: setting(choice("error", "warn", "info", "debug"), "info", "Lines below this level are left out."),
    format: setting(
      choice("auto", "text", "logfmt", "json"),
      "auto",
      "auto: text on a terminal, logfmt elsewhere.",
    ),
  }),

  state: section("What the agent keeps on the board.", {
    dir: setting(
      neededPath,
      "/data/hublink",
      "Folder for the journal. A folder that can't be written is reported and worked without.",
    ),
    control_socket: setting(
      neededPath,
      "/run/hublink.sock",
      "Unix socket for the command line and the application.",
    ),
    control_mode: setting(
      text('a mode in octal such as "0600", in quotes', /^0?[0-7]{3}$/),
      "0600",
      "Its mode, octal. Everybody who may write to the socket controls the agent.",
    ),
    control_group: setting(text("the name of a group"), "", "Its group. Default: the agent's own."),
  }),
});

/** The checked configuration, with the keys as in the file. */
export type Config = Values<typeof schema>;
