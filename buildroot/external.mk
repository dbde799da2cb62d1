include $(sort $(wildcard $(BR2_EXTERNAL_HUBLINK_PATH)/package/*/*.mk))
