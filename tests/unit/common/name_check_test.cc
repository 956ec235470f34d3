#include "common/name_check.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace whippletree {
namespace {

// Of a name that is asked for, after a while.
std::string ErrorOf(const std::string& host) {
  const NameCheck check(host);
  for (int i = 0; i < 3000 && check.error().empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return check.error();
}

TEST(NameCheckTest, AnAddressIsNoName) {
  for (const char* host : {"127.0.0.1", "::1", "fe80::1%eth0"}) {
    EXPECT_EQ(NameCheck(host).error(), "") << host;
  }
}

// RFC 6761: `invalid` never resolves. What is said to that differs where there is no DNS.
TEST(NameCheckTest, ANameThatDoesNotResolveIsTold) {
  const std::string error = ErrorOf("nosuchhost.invalid");
  EXPECT_TRUE(error.starts_with("the name nosuchhost.invalid does not resolve (")) << error;
}

TEST(NameCheckTest, MayGoBeforeTheAnswer) {
  for (int i = 0; i < 10; ++i) NameCheck("nosuchhost.invalid");
}

}  // namespace
}  // namespace whippletree
