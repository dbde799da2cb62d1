#!/bin/sh
# Adds to the root file system the files that the slots need. $1 is its folder, $2 the board's folder.
set -eu

target=$1 board=$2
common=$(dirname "$0")
# shellcheck source-path=SCRIPTDIR source=firmware-description.sh
. "$common/firmware-description.sh"
describe_firmware "$board"

install -D -m 0644 "$common/fw_env.config" "$target/etc/fw_env.config"
install -D -m 0755 "$common/S00storage" "$target/etc/init.d/S00storage"
mkdir -p "$target/boot" "$target/data"

mkdir -p "$target/usr/share/fwup"
fwup -c -f "$common/ops.conf" -o "$target/usr/share/fwup/ops.fw"

# A login on the screen too, besides the serial console.
if ! grep -q '^tty1::' "$target/etc/inittab"; then
	echo 'tty1::respawn:/sbin/getty -L tty1 0 vt100' >> "$target/etc/inittab"
fi
