# shellcheck shell=sh
# Sourced by post-build.sh and post-image.sh. Sets the variables that fwup.conf and ops.conf use.

setting() { # NAME: a text of Buildroot's configuration, BR2_CONFIG
	sed -n "s/^BR2_PACKAGE_HUBLINK_$1=\"\(.*\)\"\$/\1/p" "$BR2_CONFIG"
}

slot() { # BOARD NAME: a variable of the slot.env in the board's folder
	sed -n "s/^slot_$2=//p" "$1/slot.env"
}

describe_firmware() { # BOARD
	HUBLINK_PRODUCT=$(setting PRODUCT)
	HUBLINK_VERSION=${FIRMWARE_VERSION:-$(setting FIRMWARE_VERSION)}
	HUBLINK_PLATFORM=$(slot "$1" platform)
	HUBLINK_ARCHITECTURE=$(slot "$1" architecture)
	HUBLINK_DESCRIPTION="$HUBLINK_PRODUCT for $HUBLINK_PLATFORM"
	HUBLINK_AUTHOR=${HUBLINK_AUTHOR:-Buildroot}
	export HUBLINK_PRODUCT HUBLINK_VERSION HUBLINK_PLATFORM HUBLINK_ARCHITECTURE
	export HUBLINK_DESCRIPTION HUBLINK_AUTHOR
}
