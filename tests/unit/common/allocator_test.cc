// What the programs are linked with to allocate.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <memory>

namespace whippletree {
namespace {

int64_t PageFaults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

// Otherwise each payload of this size costs more in page faults than in copies.
TEST(AllocatorTest, ALargeBlockIsAtHandWhenItIsNeededAgain) {
  constexpr size_t kBytes = 10'000'000;
  constexpr size_t kPageBytes = 4096;
  constexpr int kTimes = 20;
  const int64_t before = PageFaults();
  for (int i = 0; i < kTimes; ++i) {
    const auto block = std::make_unique_for_overwrite<char[]>(kBytes);
    // Each page is touched, and no compiler can leave it out.
    for (size_t at = 0; at < kBytes; at += kPageBytes) {
      static_cast<volatile char*>(block.get())[at] = 'x';
    }
  }
  EXPECT_LT(PageFaults() - before, int64_t{kTimes / 4 * (kBytes / kPageBytes)});
}

}  // namespace
}  // namespace whippletree
