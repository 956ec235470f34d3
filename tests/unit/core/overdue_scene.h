// A queue with a timeout, and a producer: for tests of workers that do not answer.
#pragma once

#include "broker/core/limits.h"
#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {

inline constexpr Duration kTimeout = seconds(2);
inline constexpr Duration kLease = seconds(8);
inline constexpr Duration kGrace = kLease;  // longer than kAnswerGrace
static_assert(kGrace > kAnswerGrace);

struct OverdueScene {
  explicit OverdueScene(QueuePolicy policy = Policy()) : h(MakeConfig(policy)), producer(&h, "p") {
    producer.Join();
  }
  static QueuePolicy Policy() {
    QueuePolicy policy;
    policy.timeout = kTimeout;
    policy.lease_duration = kLease;
    policy.backoff_min = policy.backoff_max = Duration(0);
    return policy;
  }
  static Config MakeConfig(const QueuePolicy& policy) {
    Config config;
    config.default_policy = policy;
    return config;
  }
  // Time passes. The producer and these workers live, and say nothing of their jobs.
  void Pass(Duration d, std::vector<WorkerPeer*> alive) {
    for (const MonoTime end = h.now.mono + d; h.now.mono < end;) {
      h.Run(std::min<Duration>(milliseconds(500), end - h.now.mono));
      producer.Heartbeat();
      for (WorkerPeer* worker : alive) worker->Heartbeat();
    }
  }
  // The worker was told to stop these jobs.
  void ExpectCancel(const WorkerPeer& worker, uint64_t token, uint32_t first, uint32_t count) {
    const wire::Envelope message = h.Take(worker.route(), wire::Envelope::kCancelJobs);
    ASSERT_EQ(message.cancel_jobs().ranges_size(), 1);
    EXPECT_EQ(message.cancel_jobs().ranges(0).token(), token);
    EXPECT_EQ(message.cancel_jobs().ranges(0).first(), first);
    EXPECT_EQ(message.cancel_jobs().ranges(0).count(), count);
  }
  void DropFrames(const WorkerPeer& worker, wire::Envelope::BodyCase kind) {
    std::erase_if(h.sent, [&](const Send& send) {
      return send.route == worker.route() && send.message.body_case() == kind;
    });
  }
  BrokerHarness h;
  ProducerPeer producer;
};

}  // namespace whippletree::core
