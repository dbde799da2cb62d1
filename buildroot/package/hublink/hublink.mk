################################################################################
#
# hublink
#
################################################################################

HUBLINK_VERSION = 0.1.0
HUBLINK_LICENSE = Apache-2.0
HUBLINK_LICENSE_FILES = LICENSE
HUBLINK_DEPENDENCIES = host-fwup

ifeq ($(BR2_PACKAGE_HUBLINK_BUNDLE),y)
HUBLINK_BUILT = hublink.cjs
else ifeq ($(BR2_ARM_CPU_ARMV6),y)
HUBLINK_BUILT = hublink-linux-armv6
else ifeq ($(BR2_arm),y)
HUBLINK_BUILT = hublink-linux-armv7
else ifeq ($(BR2_aarch64),y)
HUBLINK_BUILT = hublink-linux-aarch64
else
HUBLINK_BUILT = hublink-linux-x64
endif

HUBLINK_FILE = $(or $(call qstrip,$(BR2_PACKAGE_HUBLINK_FILE)),$(BR2_EXTERNAL_HUBLINK_PATH)/../dist/$(HUBLINK_BUILT))
ifneq ($(filter http://% https://%,$(HUBLINK_FILE)),)
HUBLINK_SITE = $(patsubst %/,%,$(dir $(HUBLINK_FILE)))
HUBLINK_SOURCE = $(notdir $(HUBLINK_FILE))
HUBLINK_PROGRAM = $(HUBLINK_DL_DIR)/$(HUBLINK_SOURCE)
else
# A local file does not go into the download folder: there an old file would be used instead of a new one.
HUBLINK_SOURCE =
HUBLINK_PROGRAM = $(HUBLINK_FILE)

# Buildroot's legal information does not include packages without a download; add this one.
define HUBLINK_COLLECT_LICENSE
	$(Q)$(call legal-license-file,TARGET,hublink,hublink-$(HUBLINK_VERSION),LICENSE,$(HUBLINK_DIR)/LICENSE,$(HUBLINK_HASH_FILES))
	$(Q)$(call legal-manifest,TARGET,hublink,$(HUBLINK_VERSION),$(HUBLINK_LICENSE),LICENSE,$(notdir $(HUBLINK_FILE)),no download,)
endef
HUBLINK_POST_LEGAL_INFO_HOOKS += HUBLINK_COLLECT_LICENSE
endif

define HUBLINK_EXTRACT_CMDS
	test -f '$(HUBLINK_PROGRAM)' || { \
		echo "hublink: $(HUBLINK_PROGRAM): no such file; build it (npm run build, npm run package) or set BR2_PACKAGE_HUBLINK_FILE" >&2; \
		exit 1; }
	$(INSTALL) -m 0644 '$(HUBLINK_PROGRAM)' $(@D)/hublink
	$(INSTALL) -m 0644 $(HUBLINK_PKGDIR)/../../../LICENSE $(@D)/LICENSE
endef

HUBLINK_SIGNING_KEY = $(or $(call qstrip,$(BR2_PACKAGE_HUBLINK_SIGNING_KEY)),$(BR2_EXTERNAL_HUBLINK_PATH)/keys/development)
HUBLINK_PUBLIC_KEYS = $(HUBLINK_SIGNING_KEY).pub $(call qstrip,$(BR2_PACKAGE_HUBLINK_MORE_PUBLIC_KEYS))

define HUBLINK_CONFIGURE_CMDS
	PATH=$(BR_PATH) $(HUBLINK_PKGDIR)/signing-key \
		'$(HUBLINK_SIGNING_KEY)' \
		$(if $(call qstrip,$(BR2_PACKAGE_HUBLINK_SIGNING_KEY)),given,development)
endef

HUBLINK_CONFIG_FILE = $(call qstrip,$(BR2_PACKAGE_HUBLINK_CONFIG_FILE))
ifneq ($(HUBLINK_CONFIG_FILE),)
define HUBLINK_BUILD_CMDS
	$(INSTALL) -m 0600 $(HUBLINK_CONFIG_FILE) $(@D)/config.toml
endef
else
define HUBLINK_BUILD_CMDS
	HUB_URL=$(BR2_PACKAGE_HUBLINK_HUB_URL) \
	IDENTITY_SOURCE=$(BR2_PACKAGE_HUBLINK_IDENTITY_SOURCE) \
	CERT_FILE=$(BR2_PACKAGE_HUBLINK_CERT_FILE) \
	KEY_FILE=$(BR2_PACKAGE_HUBLINK_KEY_FILE) \
	SHARED_SECRET_KEY=$(BR2_PACKAGE_HUBLINK_SHARED_SECRET_KEY) \
	SHARED_SECRET_FILE=$(BR2_PACKAGE_HUBLINK_SHARED_SECRET_FILE) \
	PKCS11_MODULE=$(BR2_PACKAGE_HUBLINK_PKCS11_MODULE) \
	PKCS11_URI=$(BR2_PACKAGE_HUBLINK_PKCS11_URI) \
	PKCS11_PIN_FILE=$(BR2_PACKAGE_HUBLINK_PKCS11_PIN_FILE) \
	TPM2_KEY=$(BR2_PACKAGE_HUBLINK_TPM2_KEY) \
	DEVPATH=$(BR2_PACKAGE_HUBLINK_DEVPATH) \
	CONSOLE=$(if $(BR2_PACKAGE_HUBLINK_CONSOLE),true) \
		$(HUBLINK_PKGDIR)/write-config $(HUBLINK_PUBLIC_KEYS) > $(@D)/config.toml
endef
endif

# A packaged binary has its program after the ELF sections, and strip would remove it. Buildroot does not strip
# a file without the x bit; HUBLINK_PERMISSIONS sets the bit in the image.
ifeq ($(BR2_PACKAGE_HUBLINK_BINARY),y)
define HUBLINK_INSTALL_PROGRAM
	$(INSTALL) -D -m 0644 $(@D)/hublink $(TARGET_DIR)/usr/bin/hublink
endef
define HUBLINK_PERMISSIONS
	/usr/bin/hublink f 755 0 0 - - - - -
	/etc/hublink d 700 0 0 - - - - -
	/etc/hublink/config.toml f 600 0 0 - - - - -
	/data d 755 0 0 - - - - -
	/data/hublink d 700 0 0 - - - - -
endef
else
HUBLINK_DEPENDENCIES += nodejs
define HUBLINK_INSTALL_PROGRAM
	$(INSTALL) -D -m 0644 $(@D)/hublink $(TARGET_DIR)/usr/lib/hublink/hublink.cjs
	$(INSTALL) -D -m 0755 $(HUBLINK_PKGDIR)/hublink-on-node $(TARGET_DIR)/usr/bin/hublink
endef
define HUBLINK_PERMISSIONS
	/etc/hublink d 700 0 0 - - - - -
	/etc/hublink/config.toml f 600 0 0 - - - - -
	/data d 755 0 0 - - - - -
	/data/hublink d 700 0 0 - - - - -
endef
endif

define HUBLINK_INSTALL_TARGET_CMDS
	$(HUBLINK_INSTALL_PROGRAM)
	$(INSTALL) -D -m 0600 $(@D)/config.toml $(TARGET_DIR)/etc/hublink/config.toml
	mkdir -p $(TARGET_DIR)/data/hublink
endef

define HUBLINK_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(HUBLINK_PKGDIR)/hublink-trial \
		$(TARGET_DIR)/usr/libexec/hublink-trial
	$(INSTALL) -D -m 0755 $(HUBLINK_PKGDIR)/hublink-supervise \
		$(TARGET_DIR)/usr/libexec/hublink-supervise
	$(INSTALL) -D -m 0755 $(HUBLINK_PKGDIR)/S95hublink \
		$(TARGET_DIR)/etc/init.d/S95hublink
endef

define HUBLINK_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 0644 $(HUBLINK_PKGDIR)/hublink.service \
		$(TARGET_DIR)/usr/lib/systemd/system/hublink.service
	$(INSTALL) -D -m 0755 $(HUBLINK_PKGDIR)/hublink-trial \
		$(TARGET_DIR)/usr/libexec/hublink-trial
	$(INSTALL) -D -m 0644 $(HUBLINK_PKGDIR)/hublink-trial.service \
		$(TARGET_DIR)/usr/lib/systemd/system/hublink-trial.service
	$(INSTALL) -D -m 0644 $(HUBLINK_PKGDIR)/hublink-trial.timer \
		$(TARGET_DIR)/usr/lib/systemd/system/hublink-trial.timer
	$(if $(BR2_PACKAGE_HUBLINK_CONSOLE),$(INSTALL) -D -m 0644 $(HUBLINK_PKGDIR)/open.conf \
		$(TARGET_DIR)/usr/lib/systemd/system/hublink.service.d/open.conf)
endef

$(eval $(generic-package))
