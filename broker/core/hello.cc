// What is wrong with a hello, by itself or beside the store.
#include "broker/core/broker.h"
#include "broker/core/limits.h"
#include "broker/core/planted.h"
#include "common/codec.h"

namespace whippletree::core {
namespace {

std::string_view RoleName(wire::Role role) { return role == wire::WORKER ? "worker" : "producer"; }

}  // namespace

absl::Status Broker::CheckHello(const wire::Hello& hello) const {
  if (hello.role() != wire::PRODUCER && hello.role() != wire::WORKER) {
    return absl::InvalidArgumentError("hello without a role");
  }
  if (hello.name().empty() || hello.name().size() > kPeerNameBytesMax) {
    return absl::InvalidArgumentError("a peer's name has 1 to 128 bytes");
  }
  if (hello.role() == wire::PRODUCER) {
    for (const wire::StreamClaim& claim : hello.streams()) {
      if (std::string error = QueueNameError(claim.queue()); !error.empty()) {
        return absl::InvalidArgumentError(error);
      }
    }
    return absl::OkStatus();
  }
  if (hello.slots() < 1 || hello.slots() > kSlotsMax) {
    return absl::InvalidArgumentError("a worker has 1 to 4096 slots");
  }
  if (hello.credits_size() < 1) {
    return absl::InvalidArgumentError("a worker serves 1 to 1024 queues");
  }
  for (const wire::Credit& credit : hello.credits()) {
    if (std::string error = QueueNameError(credit.queue()); !error.empty()) {
      return absl::InvalidArgumentError(error);
    }
  }
  return absl::OkStatus();
}

absl::Status Broker::CheckCommits(const wire::Hello& hello) const {
  if (config_.store_id.empty() || hello.store_id() != config_.store_id) return absl::OkStatus();
  if (hello.commit() == 0) return absl::OkStatus();
  // Else anybody could stop a broker by naming a commit.
  if (hello.receipt() != secrets_.Receipt(hello.commit()) && !Planted("trust_receipts")) {
    return absl::PermissionDeniedError(
        "the receipt of commit " + std::to_string(hello.commit()) +
        " is not one of this store: say Envelope.commit and Envelope.receipt back as they came");
  }
  // What an earlier start told of was in the store when this one opened it. This start may have
  // given the same numbers to other commits since.
  const bool same_start = hello.broker_start() == config_.broker_start;
  const uint64_t have = same_start ? outgoing_.durable() : config_.last_commit;
  if (hello.commit() <= have) return absl::OkStatus();
  return absl::DataLossError(std::string(RoleName(hello.role())) + " " + hello.name() +
                             " was told of commit " + std::to_string(hello.commit()) +
                             ", and the store has none after " + std::to_string(have) +
                             ": what was confirmed since is lost");
}

}  // namespace whippletree::core
