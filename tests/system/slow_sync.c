/* Preloaded into a broker: each fdatasync and fsync begins 5 ms late, and when it has returned a line
 * "BEGIN END" (nanoseconds of the monotonic clock) is added to the file named by SLOW_SYNC_LOG. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int slow(const char* name, int fd) {
  const struct timespec delay = {0, 5000000};
  nanosleep(&delay, NULL);
  int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  const long long begin = now();
  const int result = sync(fd);
  char line[64];
  const int size = snprintf(line, sizeof line, "%lld %lld\n", begin, now());
  const int log = open(getenv("SLOW_SYNC_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (result != 0 || log < 0 || write(log, line, (size_t)size) != size) abort();
  close(log);
  return result;
}

int fdatasync(int fd) { return slow("fdatasync", fd); }
int fsync(int fd) { return slow("fsync", fd); }
