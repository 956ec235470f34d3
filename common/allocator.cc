// How the programs' allocator, jemalloc, is set up. Frames, runs and results are blocks of up to a
// megabyte that come and go all the time: a thread keeps two of each size at hand, where glibc
// would give them back to the kernel and fault them in again. What nobody has used for two seconds
// goes back, since the broker's bound of memory is to hold for what the process has; a quarter of a
// second cost a steady flow 6 % in page faults.
#include <jemalloc/jemalloc.h>

#include <cstddef>

// Read by jemalloc before main. One arena: hardly more than two threads allocate at a time. Blocks
// of 8 MiB or more are like all others.
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf =
    "narenas:1,lg_tcache_max:20,tcache_nslots_large:2,dirty_decay_ms:2000,muzzy_decay_ms:0,"
    "oversize_threshold:0";
}

namespace {

// jemalloc 5.3.0 makes its first arena before it reads that option, and would give such a block
// back at once when it is freed: payloads of 10 MB took twice their time in page faults.
[[maybe_unused]] const bool kLargeBlocksWaitToo = [] {
  size_t bytes = size_t{1} << 40;
  return mallctl("arena.0.oversize_threshold", nullptr, nullptr, &bytes, sizeof bytes) == 0;
}();

}  // namespace
