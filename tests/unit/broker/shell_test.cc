#include "broker/shell.h"

#include <gtest/gtest.h>

#include <thread>

#include "broker/admin.h"
#include "broker/config.h"

namespace whippletree {
namespace {

// A broker that serves on a port of the system's choice until the end of the test.
class ShellTest : public testing::Test {
 protected:
  static constexpr Duration kPatience = seconds(30);

  void Serve(const core::Policies& policies) {
    BrokerShell::Options options;
    options.port = 0;
    options.core.default_policy = policies.defaults;
    options.core.queues = policies.queues;
    options.core.unknown_queues = policies.unknown_queues;
    auto shell = BrokerShell::Start(options);
    ASSERT_TRUE(shell.ok()) << shell.status();
    shell_ = *std::move(shell);
    thread_ = std::thread([this] { shell_->Run(); });
  }

  ~ShellTest() override {
    if (shell_) shell_->Stop();
    if (thread_.joinable()) thread_.join();
  }

  // The policies as the broker tells them.
  std::string Policies() {
    AdminClient client({"127.0.0.1", static_cast<uint16_t>(shell_->door_port())}, kPatience);
    const absl::StatusOr<std::string> text = client.AskPolicies();
    EXPECT_TRUE(text.ok()) << text.status();
    return text.value_or("");
  }

  std::unique_ptr<BrokerShell> shell_;
  std::thread thread_;
};

TEST_F(ShellTest, TellsThePoliciesItBeganWith) {
  core::Policies policies;
  policies.defaults.concurrency = 7;
  policies.queues["q"].keys.ordered = true;
  policies.unknown_queues = false;
  Serve(policies);
  EXPECT_EQ(Policies(), ConfigText(ConfigOf(policies)));
}

// They do not fit in one reply.
TEST_F(ShellTest, TellsManyPolicies) {
  core::Policies policies;
  for (int i = 0; i < 2000; ++i) policies.queues["queue-" + std::to_string(i)];
  const std::string text = ConfigText(ConfigOf(policies));
  ASSERT_GT(text.size(), size_t{512} << 10);
  Serve(policies);
  EXPECT_EQ(Policies(), text);
}

TEST_F(ShellTest, TellsThePoliciesThatItWasGivenSince) {
  Serve({});
  core::Policies policies;
  policies.queues["q"].max_attempts = 9;
  shell_->SetPolicies(policies);
  EXPECT_EQ(Policies(), ConfigText(ConfigOf(policies)));
  EXPECT_NE(Policies().find("max_attempts: 9"), std::string::npos);
}

}  // namespace
}  // namespace whippletree
