// Messages of any kind from the bytes of an input. Fields that nobody named here are filled by
// their type, so that what is added to the protocol is filled too.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/fuzz/byte_source.h"
#include "wire.pb.h"

namespace whippletree::fuzz {

// As a welcome tells it.
struct Session {
  uint64_t number = 0;
  uint64_t secret = 0;
};

// What messages mostly speak of: a number or name out of nowhere only tries a few refusals.
struct Words {
  Session session{};
  std::vector<std::string> queues = {"q"};
  std::vector<std::string> names = {""};   // of peers, for fields `name` and `worker`
  std::vector<uint64_t> tokens = {0};      // of leases
  std::map<uint64_t, uint64_t> secrets{};  // of these
  std::vector<uint64_t> streams = {0};     // numbers of streams
};

class Grammar {
 public:
  // Both must outlive it; `words` may change meanwhile.
  Grammar(ByteSource* input, const Words* words) : input_(input), words_(words) {}

  // A message of the session with this body: a field number of Envelope::body.
  wire::Envelope Message(int body);
  // Fills what it has: most fields are set, some are left at 0, some are unlikely.
  void Fill(google::protobuf::Message* message, int depth = 0);

 private:
  void FillRun(wire::Run* run);
  // Of the leases that are named.
  void FillSecrets(wire::Envelope* message);
  void FillField(google::protobuf::Message* message, const google::protobuf::FieldDescriptor& field,
                 int depth);
  uint64_t NumberFor(const google::protobuf::FieldDescriptor& field);
  std::string TextFor(const google::protobuf::FieldDescriptor& field);
  template <typename T>
  const T& Pick(const std::vector<T>& some) {
    return some[input_->Below(static_cast<uint32_t>(some.size()))];
  }
  // Now and then: what is asked for is not what it should be.
  bool Unlikely() { return input_->Byte() >= 0xf0; }

  ByteSource* const input_;
  const Words* const words_;
};

// The body of `message` is said to be of this session.
void SetSession(const Session& session, wire::Envelope* message);

}  // namespace whippletree::fuzz
