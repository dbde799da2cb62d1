"""Reads the Config.in of a Buildroot external tree; prints its symbols and warnings as JSON."""

import json
import os
import sys

import kconfiglib

tree = sys.argv[1]
os.environ["BR2_EXTERNAL_HUBLINK_PATH"] = tree
os.environ["CONFIG_"] = ""  # Buildroot's symbols have no prefix
kconfig = kconfiglib.Kconfig(os.path.join(tree, "Config.in"), warn_to_stderr=False)
defined = [symbol.name for symbol in kconfig.unique_defined_syms]
print(json.dumps({"defined": defined, "warnings": kconfig.warnings}))
