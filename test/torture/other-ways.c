/* Changes the folder of its second argument in the way that its first one names. Without these it does nothing. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

int main(int count, char **arguments)
{
	if (count < 3)
		return 0;
	const char *way = arguments[1];
	if (chdir("/") != 0)
		return 1;
	int folder = open(arguments[2], O_RDONLY | O_DIRECTORY);
	char disk_path[4096], old_path[4096];
	snprintf(disk_path, sizeof(disk_path), "%s/disk.img", arguments[2]);
	snprintf(old_path, sizeof(old_path), "%s/old", arguments[2]);
	int disk = open(disk_path, O_RDWR), old = open(old_path, O_RDONLY);
	if (strcmp(way, "openat") == 0)
		openat(folder, "new", O_CREAT | O_WRONLY, 0600);
	if (strcmp(way, "renameat") == 0)
		renameat(folder, "old", folder, "new");
	if (strcmp(way, "copy_file_range") == 0)
		copy_file_range(old, NULL, disk, NULL, 3, 0);
	if (strcmp(way, "sendfile") == 0)
		sendfile(disk, old, NULL, 3);
	if (strcmp(way, "fallocate") == 0)
		fallocate(disk, 0, 0, 8192);
	if (strcmp(way, "truncate") == 0)
		return truncate(disk_path, 0);
	if (strcmp(way, "mmap") == 0)
		mmap(NULL, 512, PROT_READ | PROT_WRITE, MAP_SHARED, disk, 0);
	return 2;
}
