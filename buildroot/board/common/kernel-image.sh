#!/bin/sh
# Packs everything that a slot boots with into one image for fwup's raw_write: a head of 4 KiB that boot.cmd imports
# (a U-Boot environment with CRC32), then device tree, kernel and initial RAM disk, each at a full block.
#
#   kernel-image.sh OUT VARIABLES KERNEL [DTB|-] [INITRD|-]
#
# VARIABLES is a file of name=value lines: the board's slot.env, and the slot's description:
#   slot_boot          bootz (zImage) or booti (Image)
#   slot_args          kernel arguments, without root= and what boot.cmd adds
#   slot_root          root device without the partition's number, as /dev/mmcblk0p
#   slot_kernel_at, slot_dtb_at, slot_initrd_at     their addresses in memory, hex
#   slot_product, slot_version, slot_platform, slot_architecture
# Without a DTB the kernel gets the device tree that the Raspberry Pi's own firmware has prepared.
set -eu

[ $# -ge 3 ] || { sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 64; }
out=$1 variables=$2 kernel=$3 dtb=${4:--} initrd=${5:--}

head_blocks=8
text=$(mktemp)
trap 'rm -f "$text" "$out.tmp"' EXIT
grep -E '^slot_[a-z_]+=' "$variables" > "$text"

block=$head_blocks
: > "$out.tmp"
append() { # NAME FILE
	[ -f "$2" ] || { echo "kernel-image.sh: $2: no such file" >&2; exit 66; }
	size=$(wc -c < "$2")
	count=$(((size + 511) / 512))
	dd if="$2" of="$out.tmp" bs=512 seek="$block" conv=notrunc status=none
	printf 'slot_%s_block=0x%x\nslot_%s_count=0x%x\nslot_%s_size=0x%x\n' \
		"$1" "$block" "$1" "$count" "$1" "$size" >> "$text"
	block=$((block + count))
}
[ "$dtb" = - ] || append dtb "$dtb"
append kernel "$kernel"
[ "$initrd" = - ] || append initrd "$initrd"

# Fill up the last block, so that the same input always makes the same file.
truncate -s "$((block * 512))" "$out.tmp"
mkenvimage -s "$((head_blocks * 512))" -o "$text.env" "$text"
dd if="$text.env" of="$out.tmp" bs=512 conv=notrunc status=none
rm -f "$text.env"
mv "$out.tmp" "$out"
