# U-Boot script for the A/B layout of fwup.conf, with the block numbers of layout.conf in hex. All boards use it:
# their differences (kernel arguments, addresses, device tree) are at the head of each slot's kernel image, and so
# come with an update. See kernel-image.sh.
#
#   blocks 0x10..0x10f   U-Boot environment, CRC32, written by fwup, hublink, fw_setenv and here
#   blocks 0x110..0x20f  its backup, written only here, when the environment describes a good slot
#   blocks 0x20800, 0x38800  kernel images of the slots a and b
#
# A slot is on trial while nerves_fw_validated=0. It gets one boot, after which nerves_fw_booted=1. If it is not
# validated by then, the other slot is booted, with nerves_fw_reverted=1. nerves_fw_restored=1 means that the
# environment was lost or that a kernel did not start: then the slots are tried in turn until one is validated.
#
# A slot whose kernel, device tree or RAM disk is damaged is not started: it would hang. While the slots are tried in
# turn, and without another slot, it is started all the same, since there is nothing better. For a slot on trial, the watchdog is armed last.
# The kernel feeds it until the agent does.
#
# Memory: environment 0x08000000, backup 0x08020000, head of the kernel image 0x08040000,
# CRC32 of one of its parts 0x08041000.

# The address of the device tree from the Raspberry Pi's firmware. The import clears U-Boot's variables, so that they
# do not get into the stored environment. It does not clear the shell's variables, such as this one.
firmware_dtb=${fdt_addr}
save=0
mmc dev 0
mmc read 0x08000000 0x10 0x100
mmc read 0x08020000 0x110 0x100

if env import -d -c 0x08000000 0x20000; then
  echo "boot: environment is good"
else
  save=1
  if env import -d -c 0x08020000 0x20000; then
    echo "boot: environment is bad, using its backup"
  else
    echo "boot: environment and backup are bad"
    setenv nerves_fw_active a
    setenv nerves_fw_devpath /dev/mmcblk0
  fi
  # The content of the slots is not known, so nobody may revert to them.
  setenv a.nerves_fw_platform
  setenv a.nerves_fw_architecture
  setenv b.nerves_fw_platform
  setenv b.nerves_fw_architecture
  setenv nerves_fw_restored 1
  setenv nerves_fw_validated 0
  setenv nerves_fw_booted 0
fi

if test "${nerves_fw_active}" = "b"; then
  other=a
  other_platform=${a.nerves_fw_platform}
else
  setenv nerves_fw_active a
  other=b
  other_platform=${b.nerves_fw_platform}
fi

if test "${nerves_fw_validated}" = "0"; then
  if test "${nerves_fw_booted}" != "1"; then
    save=1
    setenv nerves_fw_booted 1
  elif test "${nerves_fw_restored}" = "1"; then
    echo "boot: slot ${nerves_fw_active} was not validated, trying slot ${other}"
    save=1
    setenv ${nerves_fw_active}.nerves_fw_platform
    setenv ${nerves_fw_active}.nerves_fw_architecture
    setenv nerves_fw_active ${other}
  elif test "${other_platform}" != ""; then
    echo "boot: slot ${nerves_fw_active} was not validated, going back to slot ${other}"
    save=1
    setenv nerves_fw_active ${other}
    setenv nerves_fw_validated 1
    setenv nerves_fw_reverted 1
  else
    echo "boot: slot ${nerves_fw_active} was not validated, but slot ${other} holds nothing to go back to"
  fi
elif test "${nerves_fw_restored}" = "1"; then
  save=1
  setenv nerves_fw_restored
fi

if test "${nerves_fw_active}" = "b"; then
  start=0x38800
  root=3
  version=${b.nerves_fw_version}
else
  start=0x20800
  root=2
  version=${a.nerves_fw_version}
fi
slot=${nerves_fw_active}
mmc read 0x08040000 ${start} 0x8

# After a loss the description is read from the slot itself; the uuid is not in it.
if test "${nerves_fw_restored}" = "1"; then
  if env import -c 0x08040000 0x1000 slot_product slot_version slot_platform slot_architecture; then
    if test "${slot_version}" != "${version}"; then
      setenv ${slot}.nerves_fw_uuid
    fi
    setenv ${slot}.nerves_fw_product ${slot_product}
    setenv ${slot}.nerves_fw_version ${slot_version}
    setenv ${slot}.nerves_fw_platform ${slot_platform}
    setenv ${slot}.nerves_fw_architecture ${slot_architecture}
    setenv slot_product
    setenv slot_version
    setenv slot_platform
    setenv slot_architecture
    save=1
  fi
fi

if test "${save}" = "1"; then
  env export -c -s 0x20000 0x08000000
  mmc write 0x08000000 0x10 0x100
  echo "boot: environment written"
fi
validated=1
if test "${nerves_fw_validated}" = "0"; then
  validated=0
elif cmp.b 0x08000000 0x08020000 0x20000; then
  echo "boot: backup is good"
else
  mmc write 0x08000000 0x110 0x100
  echo "boot: backup written"
fi

# Images of before 2026-12 have no CRC32 in their head.
setenv check 'if test "${part_crc}" != ""; then if crc32 ${part_at} ${part_size} 0x08041000; then if itest.l *0x08041000 != ${part_crc}; then if itest.l *0x08041000 != ${part_crc_swapped}; then setenv damaged ${part}; fi; fi; fi; fi'
setenv damaged
if env import -c 0x08040000 0x1000; then
  echo "boot: slot ${slot}, version ${slot_version}, validated ${validated}"
  setenv bootargs ${slot_args} root=${slot_root}${root} rootfstype=squashfs ro rootwait panic=5 fw_slot=${slot} fw_validated=${validated}
  if test "${validated}" = "0"; then
    setenv bootargs ${bootargs} ${slot_trial_args}
  fi
  dtb=${firmware_dtb}
  if test "${slot_dtb_count}" != ""; then
    setexpr block ${start} + ${slot_dtb_block}
    mmc read ${slot_dtb_at} ${block} ${slot_dtb_count}
    setenv part "device tree"
    setenv part_at ${slot_dtb_at}
    setenv part_size ${slot_dtb_size}
    setenv part_crc ${slot_dtb_crc}
    setenv part_crc_swapped ${slot_dtb_crc_swapped}
    run check
    dtb=${slot_dtb_at}
  fi
  initrd=-
  if test "${slot_initrd_count}" != ""; then
    setexpr block ${start} + ${slot_initrd_block}
    mmc read ${slot_initrd_at} ${block} ${slot_initrd_count}
    setenv part "RAM disk"
    setenv part_at ${slot_initrd_at}
    setenv part_size ${slot_initrd_size}
    setenv part_crc ${slot_initrd_crc}
    setenv part_crc_swapped ${slot_initrd_crc_swapped}
    run check
    initrd=${slot_initrd_at}:${slot_initrd_size}
  fi
  setexpr block ${start} + ${slot_kernel_block}
  mmc read ${slot_kernel_at} ${block} ${slot_kernel_count}
  setenv part "kernel"
  setenv part_at ${slot_kernel_at}
  setenv part_size ${slot_kernel_size}
  setenv part_crc ${slot_kernel_crc}
  setenv part_crc_swapped ${slot_kernel_crc_swapped}
  run check
  if test "${damaged}" != ""; then
    echo "boot: slot ${slot}: its ${damaged} is damaged"
  fi
  if test "${damaged}" = "" || test "${nerves_fw_restored}" = "1" || test "${other_platform}" = ""; then
    if test "${validated}" = "0" && test "${slot_watchdog}" != ""; then
      echo "boot: the watchdog is armed"
      run slot_watchdog
    fi
    ${slot_boot} ${slot_kernel_at} ${initrd} ${dtb}
  fi
else
  echo "boot: slot ${slot} holds no kernel"
fi

# The kernel did not start. Firmware on trial has had its boot. For any other firmware, try the slots in turn.
echo "boot: slot ${slot} does not start"
env import -d -c 0x08000000 0x20000
if test "${nerves_fw_validated}" != "0"; then
  setenv nerves_fw_restored 1
  setenv nerves_fw_validated 0
  setenv nerves_fw_booted 1
  env export -c -s 0x20000 0x08000000
  mmc write 0x08000000 0x10 0x100
fi
sleep 5
reset
