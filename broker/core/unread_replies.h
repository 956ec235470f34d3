// Replies to admins that are not known to be read. Who asks and never reads must not fill the
// memory: its socket keeps what is sent. So there is one such reply at a time for a connection, and
// all together are bounded; the next request says that the last reply was read, with a number that
// cannot be guessed. The kernel ends a connection that takes nothing for long (common/socket.cc),
// and with it goes what waits there. Knows nothing of messages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "common/time.h"

namespace whippletree::core {

class UnreadReplies {
 public:
  // For so long a reply may wait for its reader, then its connection is gone, or it was read and
  // nobody said so.
  static constexpr Duration kKept = seconds(30);
  static constexpr uint64_t kBytesMax = 16 << 20;
  static constexpr uint64_t kOverheadBytes = 256;

  // The peer of this connection has read the reply with this number. A wrong number changes
  // nothing.
  void OnRead(const std::string& route, uint64_t number);

  enum class Verdict {
    kAnswer,
    kUnread,  // there is one for this connection; said once
    kDrop,    // the same
    kFull,    // too many, of others
  };
  // What to do with a request of this connection.
  Verdict Check(const std::string& route, MonoTime now);
  // A reply goes out. REQUIRES: Check() said kAnswer.
  void Add(const std::string& route, uint64_t number, uint64_t bytes, MonoTime now);

  // Of all, these included.
  uint64_t bytes() const { return bytes_; }

 private:
  struct Reply {
    uint64_t number;
    uint64_t bytes;
    MonoTime sent;
    bool told = false;  // that it is to be read first
  };
  using Replies = std::map<std::string, Reply>;

  void Erase(Replies::iterator it);

  Replies replies_;  // by connection
  std::set<std::pair<MonoTime, std::string>> by_age_;
  uint64_t bytes_ = 0;
};

}  // namespace whippletree::core
