/*
 * gap LIFETIME_MS NAP_US: looks at the clock all the time, or after every nap, and about every 20 ms prints a line: the time now, and the
 * longest time between two looks since the line before, both in ms. The printing is not taken out of the gaps.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  useconds_t nap = (useconds_t)atoi(argv[2]);
  double last = now_ms(), told = last, longest = 0, end = last + atof(argv[1]);
  while (last < end) {
    if (nap > 0) usleep(nap);
    double now = now_ms();
    if (now - last > longest) longest = now - last;
    last = now;
    if (now - told < 20) continue;
    if (printf("%.3f %.3f\n", now, longest) < 0 || fflush(stdout) != 0) return 1;
    told = now;
    longest = 0;
  }
  return 0;
}
