// Memory of the simulator's program: it is one thread that allocates millions of small pieces a
// second, of which nearly all have one of a few sizes. Each size has chunks of its own and a list
// of free pieces; what is large comes from malloc.
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace {

constexpr size_t kStep = 16;
constexpr size_t kSizeMax = 1024;
constexpr size_t kChunkBytes = 64 << 10;
constexpr size_t kArenaBytes = size_t{16} << 30;  // of addresses; what is not used costs nothing

struct Free {
  Free* next;
};

// All zero before the first call, whichever constructor makes it.
char* arena;
char* arena_end;
size_t chunks_used;
Free* free_by_size[kSizeMax / kStep + 1];
uint8_t size_of_chunk[kArenaBytes / kChunkBytes];

void OpenArena() {
  void* const map = mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED) std::abort();
  arena = static_cast<char*>(map);
  arena_end = arena + kArenaBytes;
}

// Cuts a new chunk into pieces.
void Refill(size_t size) {
  if (arena == nullptr) OpenArena();
  if (chunks_used == kArenaBytes / kChunkBytes) std::abort();
  char* const chunk = arena + chunks_used * kChunkBytes;
  size_of_chunk[chunks_used++] = static_cast<uint8_t>(size);
  const size_t bytes = size * kStep;
  for (size_t at = kChunkBytes / bytes; at > 0; --at) {
    auto* const piece = reinterpret_cast<Free*>(chunk + (at - 1) * bytes);
    piece->next = free_by_size[size];
    free_by_size[size] = piece;
  }
}

void* Allocate(size_t bytes) {
  if (bytes > kSizeMax) [[unlikely]] {
    void* const large = std::malloc(bytes);
    if (large == nullptr) std::abort();
    return large;
  }
  const size_t size = bytes == 0 ? 1 : (bytes + kStep - 1) / kStep;
  if (free_by_size[size] == nullptr) [[unlikely]]
    Refill(size);
  Free* const piece = free_by_size[size];
  free_by_size[size] = piece->next;
  return piece;
}

void Release(void* pointer) {
  auto* const at = static_cast<char*>(pointer);
  if (at < arena || at >= arena_end) {
    std::free(pointer);
    return;
  }
  auto* const piece = static_cast<Free*>(pointer);
  Free*& list = free_by_size[size_of_chunk[static_cast<size_t>(at - arena) / kChunkBytes]];
  piece->next = list;
  list = piece;
}

}  // namespace

void* operator new(size_t bytes) { return Allocate(bytes); }
void* operator new[](size_t bytes) { return Allocate(bytes); }
void operator delete(void* pointer) noexcept { Release(pointer); }
void operator delete[](void* pointer) noexcept { Release(pointer); }
void operator delete(void* pointer, size_t) noexcept { Release(pointer); }
void operator delete[](void* pointer, size_t) noexcept { Release(pointer); }
