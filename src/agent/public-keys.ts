/** `[firmware]`, as far as it says whose signatures count. */
export interface KeysConfig {
  /** Base64 Ed25519. */
  readonly public_keys: readonly string[];
  readonly trust_hub_keys: boolean;
}

/** The keys by which firmware is verified. */
export interface PublicKeys {
  /** Those that count now; none means that every update is refused. */
  readonly usable: () => readonly string[];
  /** Takes the hub's; an empty list never clears keys already held. */
  readonly fromHub: (keys: readonly string[]) => void;
}

/** Pinned keys count alone; without them the hub's do, if they are trusted. */
export function createPublicKeys(config: KeysConfig): PublicKeys {
  let hubKeys: readonly string[] = [];
  return {
    usable() {
      if (config.public_keys.length > 0) return config.public_keys;
      return config.trust_hub_keys ? hubKeys : [];
    },
    fromHub(keys) {
      if (keys.length > 0) hubKeys = keys;
    },
  };
}
