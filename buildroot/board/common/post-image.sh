#!/bin/sh
# Makes the signed firmware and the image of a whole card from Buildroot's images:
#   $1/PRODUCT-PLATFORM-VERSION.fw   for the hub, and for `fwup -t complete`
#   $1/sdcard.img                    for a first card
# $1 is the folder of the images, $2 the board's folder.
set -eu

images=$1 board=$2
common=$(dirname "$0")
# shellcheck source-path=SCRIPTDIR source=firmware-description.sh
. "$common/firmware-description.sh"
describe_firmware "$board"

key=$(setting SIGNING_KEY)
: "${key:=$(dirname "$common")/../keys/development}"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The boot partition: the board's own firmware, U-Boot and the script. No update changes it.
mkimage -A arm -T script -C none -n "A/B boot" -d "$common/boot.cmd" "$work/boot.scr.uimg" > /dev/null
HUBLINK_BOOT=$images/boot.vfat
rm -f "$HUBLINK_BOOT"
truncate -s 64M "$HUBLINK_BOOT"
mkfs.vfat -F 32 -n BOOT --invariant "$HUBLINK_BOOT" > /dev/null
mcopy -i "$HUBLINK_BOOT" "$work/boot.scr.uimg" "$images/u-boot.bin" ::
mcopy -s -i "$HUBLINK_BOOT" "$images"/rpi-firmware/* ::
mcopy -i "$HUBLINK_BOOT" "$images"/*.dtb ::

# The slot's kernel image. slot_kernel names the kernel; slot_dtb names the device tree of a board that has only one.
{
	cat "$board/slot.env"
	printf 'slot_product=%s\nslot_version=%s\n' "$HUBLINK_PRODUCT" "$HUBLINK_VERSION"
} > "$work/slot.env"
HUBLINK_KERNEL=$images/kernel.img
dtb=$(slot "$board" dtb)
"$common/kernel-image.sh" "$HUBLINK_KERNEL" "$work/slot.env" "$images/$(slot "$board" kernel)" \
	"${dtb:+$images/}${dtb:--}"

HUBLINK_ROOTFS=$images/rootfs.squashfs
export HUBLINK_BOOT HUBLINK_KERNEL HUBLINK_ROOTFS
firmware=$images/$HUBLINK_PRODUCT-$HUBLINK_PLATFORM-$HUBLINK_VERSION.fw
fwup -c -f "$common/fwup.conf" -s "$key.priv" -o "$firmware"

rm -f "$images/sdcard.img"
fwup -a -q -d "$images/sdcard.img" -i "$firmware" -p "$key.pub" -t complete
echo "hublink: made $firmware and $images/sdcard.img"
