#include "broker/reloader.h"

#include <gtest/gtest.h>

#include <future>
#include <mutex>
#include <utility>

namespace whippletree {
namespace {

// Loads what it is told to, and shows what was applied.
struct Source {
  std::mutex mutex;
  absl::StatusOr<core::Policies> next;
  std::promise<void> loaded;
  std::promise<core::Policies> applied;

  Reloader::Options Options(const std::string& path) {
    return {path, core::Policies(),
            [this] {
              const std::lock_guard lock(mutex);
              loaded.set_value();
              return next;
            },
            [this](core::Policies policies) { applied.set_value(std::move(policies)); }};
  }
};

core::Policies WithAttempts(uint32_t attempts) {
  core::Policies policies;
  policies.defaults.max_attempts = attempts;
  return policies;
}

TEST(ReloaderTest, AppliesWhatIsLoaded) {
  Source source;
  source.next = WithAttempts(7);
  Reloader reloader(source.Options("b.yaml"));
  reloader.Request();
  EXPECT_EQ(source.applied.get_future().get().defaults.max_attempts, 7u);
}

TEST(ReloaderTest, ABadFileAppliesNothingAndTheNextOneDoes) {
  Source source;
  source.next = absl::InvalidArgumentError("b.yaml:1:1: one\nb.yaml:2:1: two");
  Reloader reloader(source.Options("b.yaml"));
  reloader.Request();
  source.loaded.get_future().get();
  {
    const std::lock_guard lock(source.mutex);
    source.loaded = std::promise<void>();
    source.next = WithAttempts(8);
  }
  reloader.Request();
  // A promise takes one value: had the bad one been applied, this would be it.
  EXPECT_EQ(source.applied.get_future().get().defaults.max_attempts, 8u);
}

TEST(ReloaderTest, WithoutAFileNothingIsLoaded) {
  Source source;
  {
    Reloader reloader(source.Options(""));
    reloader.Request();
  }
  EXPECT_EQ(source.loaded.get_future().wait_for(seconds(0)), std::future_status::timeout);
}

}  // namespace
}  // namespace whippletree
