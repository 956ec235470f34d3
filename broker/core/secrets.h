// What makes the broker's numbers impossible to guess: beside a number that a peer is told goes a
// keyed hash of it, which the peer says back. The hash of a commit is a receipt: who has it was
// told that the commit is durable.
//
// SipHash-2-4 (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012), from libsodium.
#pragma once

#include <array>
#include <cstdint>

namespace whippletree::core {

using SecretKey = std::array<uint8_t, 16>;

class Secrets {
 public:
  explicit Secrets(const SecretKey& key) : key_(key) {}

  uint64_t OfSession(uint64_t session) const { return Hash(Kind::kSession, session); }
  uint64_t OfLease(uint64_t token) const { return Hash(Kind::kLease, token); }
  uint64_t OfReply(uint64_t reply) const { return Hash(Kind::kReply, reply); }
  uint64_t Receipt(uint64_t commit) const { return Hash(Kind::kCommit, commit); }

 private:
  // A hash of one kind of number says nothing of another kind.
  enum class Kind : uint64_t { kCommit = 1, kSession = 2, kLease = 3, kReply = 4 };
  uint64_t Hash(Kind kind, uint64_t number) const;

  const SecretKey key_;
};

}  // namespace whippletree::core
