#!/bin/sh
# Packs everything that a slot boots with into one image for fwup's raw_write: a head of 4 KiB that boot.cmd imports
# (a U-Boot environment with CRC32), then device tree, kernel and initial RAM disk, each at a full block. The head
# has the CRC32 of each part, so that U-Boot does not start a damaged kernel, which would hang.
#
#   kernel-image.sh OUT VARIABLES KERNEL [DTB|-] [INITRD|-]
#
# VARIABLES is a file of name=value lines: the board's slot.env, and the slot's description:
#   slot_boot          bootz (zImage) or booti (Image)
#   slot_args          kernel arguments, without root= and what boot.cmd adds
#   slot_root          root device without the partition's number, as /dev/mmcblk0p
#   slot_kernel_at, slot_dtb_at, slot_initrd_at     their addresses in memory, hex
#   slot_watchdog      commands that arm the SoC's watchdog, for firmware on trial; none where there is no watchdog
#   slot_trial_args    more kernel arguments for firmware on trial
#   slot_product, slot_version, slot_platform, slot_architecture
# Without a DTB the kernel gets the device tree that the Raspberry Pi's own firmware has prepared.
set -eu

[ $# -ge 3 ] || { sed -n '2,17s/^# \{0,1\}//p' "$0" >&2; exit 64; }
out=$1 variables=$2 kernel=$3 dtb=${4:--} initrd=${5:--}

head_blocks=8
text=$(mktemp)
trap 'rm -f "$text" "$out.tmp"' EXIT
grep -E '^slot_[a-z_]+=' "$variables" > "$text"

block=$head_blocks
: > "$out.tmp"
crc32_bytes() { # FILE: the CRC32 as four bytes, the lowest first; gzip's output ends with it and the size
	gzip -1 -c "$1" | tail -c 8 | od -An -N4 -tx1
}
append() { # NAME FILE
	[ -f "$2" ] || { echo "kernel-image.sh: $2: no such file" >&2; exit 66; }
	size=$(wc -c < "$2")
	count=$(((size + 511) / 512))
	dd if="$2" of="$out.tmp" bs=512 seek="$block" conv=notrunc status=none
	printf 'slot_%s_block=0x%x\nslot_%s_count=0x%x\nslot_%s_size=0x%x\n' \
		"$1" "$block" "$1" "$count" "$1" "$size" >> "$text"
	# U-Boots differ in the order in which they store the four bytes, so the head has both.
	# shellcheck disable=SC2046
	set -- "$1" $(crc32_bytes "$2")
	printf 'slot_%s_crc=0x%s\nslot_%s_crc_swapped=0x%s\n' "$1" "$5$4$3$2" "$1" "$2$3$4$5" >> "$text"
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
