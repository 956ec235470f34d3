// Preloaded into a server: counts its calls of fsync and fdatasync in the 8 bytes of the file that
// BENCH_SYNC_COUNT names.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>

namespace {

std::atomic<uint64_t>* Counter() {
  static std::atomic<uint64_t>* const counter = [] {
    const char* path = std::getenv("BENCH_SYNC_COUNT");
    const int fd = path == nullptr ? -1 : open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(uint64_t)) != 0) std::abort();
    void* page = mmap(nullptr, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) std::abort();
    close(fd);
    return static_cast<std::atomic<uint64_t>*>(page);
  }();
  return counter;
}

int Count(const char* name, int fd) {
  using Sync = int (*)(int);
  Counter()->fetch_add(1, std::memory_order_relaxed);
  return reinterpret_cast<Sync>(dlsym(RTLD_NEXT, name))(fd);
}

}  // namespace

extern "C" {
int fsync(int fd) { return Count("fsync", fd); }
int fdatasync(int fd) { return Count("fdatasync", fd); }
}
