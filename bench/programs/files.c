/* files DIR FOLDERS FILES BYTES: makes a tree of so many folders with so many files each, as little as it takes. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc != 5 || mkdir(argv[1], 0755)) return 2;
  int folders = atoi(argv[2]), files = atoi(argv[3]), size = atoi(argv[4]);
  char *bytes = calloc(1, size), path[4096];
  for (int folder = 0; folder < folders; folder++) {
    snprintf(path, sizeof path, "%s/d%d", argv[1], folder);
    if (mkdir(path, 0755)) return 1;
    for (int file = 0; file < files; file++) {
      snprintf(path, sizeof path, "%s/d%d/f%d", argv[1], folder, file);
      int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
      if (fd < 0 || write(fd, bytes, size) != size || close(fd)) return 1;
    }
  }
  return 0;
}
