/* change MIB FILE: writes so many MiB that no two runs have alike and that cannot be compressed, over what the file holds. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  int file = open(argv[2], O_WRONLY | O_CREAT, 0600);
  if (file < 0) return 1;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  uint64_t state = (uint64_t)now.tv_sec * 1000000007u ^ (uint64_t)now.tv_nsec;
  if (state == 0) state = 1; /* From 0, xorshift64 stays at 0. */
  static uint64_t block[1 << 13];
  for (long left = atol(argv[1]) << 4; left > 0; left--) {
    for (int i = 0; i < 1 << 13; i++) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      block[i] = state;
    }
    if (write(file, block, sizeof block) != sizeof block) return 1;
  }
  return close(file);
}
