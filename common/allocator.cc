// How the programs' allocator, jemalloc, is set up. Frames, runs and results are blocks of up to a
// megabyte that come and go all the time: a thread keeps two of each size at hand, where glibc
// would give them back to the kernel and fault them in again. What nobody has used for two seconds
// goes back, since the broker's bound of memory is to hold for what the process has; a quarter of a
// second cost a steady flow 6 % in page faults.

// Read by jemalloc before main. One arena: hardly more than two threads allocate at a time.
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf =
    "narenas:1,lg_tcache_max:20,tcache_nslots_large:2,dirty_decay_ms:2000,muzzy_decay_ms:0";
}
