// Numbers of sessions and leases can be guessed; what goes beside them cannot.
#include "broker/core/secrets.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/unit/core/fake_peers.h"

namespace whippletree::core {
namespace {

SecretKey CountingKey() {
  SecretKey key;
  for (size_t i = 0; i < key.size(); ++i) key[i] = static_cast<uint8_t>(i);
  return key;
}

TEST(SecretsTest, EachKindOfNumberHasItsOwn) {
  const Secrets secrets(CountingKey());
  const Secrets others(SecretKey{});
  std::set<uint64_t> seen;
  for (const uint64_t number : {1u, 2u, 3u}) {
    for (const Secrets* each : {&secrets, &others}) {
      seen.insert({each->OfSession(number), each->OfLease(number), each->Receipt(number)});
    }
  }
  EXPECT_EQ(seen.size(), 18u);
  EXPECT_EQ(secrets.OfSession(7), Secrets(CountingKey()).OfSession(7));
}

TEST(SecretsTest, WithoutTheSecretOfASessionNobodySpeaksInIt) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  WorkerPeer worker(&h, "w");
  producer.Join();
  worker.Join();
  producer.SubmitAccepted("q", 1, 2);
  const wire::Delivery delivery = worker.TakeDelivery();
  const auto forge = [&](Channel channel, const std::string& route, wire::Envelope message) {
    message.set_secret(1);
    h.Step({h.Signed(channel, route, std::move(message))});
  };
  forge(Channel::kSubmit, "", producer.SubmitMessage("q", 3, {"forged"}));
  wire::Envelope cancel;
  cancel.mutable_cancel()->set_session(producer.session);
  cancel.mutable_cancel()->set_queue("q");
  cancel.mutable_cancel()->add_firsts(1);
  cancel.mutable_cancel()->add_counts(2);
  forge(Channel::kSubmit, "", cancel);
  wire::Envelope close;
  close.mutable_close_group()->set_session(producer.session);
  close.mutable_close_group()->set_group(1);
  forge(Channel::kSubmit, "", close);
  forge(Channel::kComplete, "",
        worker.ReportMessage(
            {WorkerPeer::Item(wire::ReportItem::COMPLETED, delivery.token(), 0, 1)}));
  wire::Envelope goodbye;
  goodbye.mutable_goodbye()->set_session(worker.session);
  forge(Channel::kDoor, "w", goodbye);
  EXPECT_EQ(h.TakeRefusal("w").action(), wire::Refusal::SAY_HELLO);
  EXPECT_EQ(h.ledger("q").accepted, 2u);
  EXPECT_EQ(h.ledger("q").completed + h.ledger("q").cancelled, 0u);
  EXPECT_EQ(h.counter("wrong_secrets"), 5u);
  EXPECT_TRUE(h.HasLog("wrong_secret"));
  EXPECT_EQ(h.broker.leases().all().size(), 1u);
}

TEST(SecretsTest, ASessionHasAnotherSecretThanTheOneBefore) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  const uint64_t first = producer.Join().secret();
  const uint64_t second = producer.Join().secret();
  EXPECT_NE(first, second);
  EXPECT_NE(first, 0u);
}

TEST(SecretsTest, WithoutTheSecretOfALeaseNobodyReportsOnIt) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  WorkerPeer worker(&h, "w");
  producer.Join();
  worker.Join();
  producer.SubmitAccepted("q", 1, 1);
  const wire::Delivery delivery = worker.TakeDelivery();
  wire::ReportItem item = WorkerPeer::Item(wire::ReportItem::COMPLETED, delivery.token(), 0, 1);
  item.set_secret(delivery.secret() + 1);
  worker.Report({item});
  EXPECT_EQ(h.counter("stale_completions"), 1u);
  EXPECT_EQ(h.ledger("q").completed, 0u);
  item.set_secret(delivery.secret());
  worker.Report({item});
  EXPECT_EQ(h.ledger("q").completed, 1u);
  producer.TakeOutcome();
}

TEST(SecretsTest, ALeaseIsKeptOnlyByWhoHasItsSecret) {
  BrokerHarness h;
  ProducerPeer producer(&h, "p");
  WorkerPeer worker(&h, "w", {.slots = 2});
  producer.Join();
  worker.Join();
  producer.SubmitAccepted("q", 1, 1);
  const uint64_t token = worker.TakeDelivery().token();
  wire::Envelope hello = worker.HelloMessage({token});
  hello.mutable_hello()->add_lease_secrets(1);
  h.Door("w", hello);
  wire::Envelope message = h.Take("w", wire::Envelope::kWelcome);
  EXPECT_EQ(message.welcome().leases_kept_size(), 0);
  worker.session = message.welcome().session();
  const uint64_t again = worker.TakeDelivery().token();
  EXPECT_NE(again, token);
  EXPECT_EQ(worker.Join({again}).leases_kept_size(), 1);
}

}  // namespace
}  // namespace whippletree::core
