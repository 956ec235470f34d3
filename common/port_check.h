// What answers at the address of a broker that does not, for those who do not reach it: another of
// its ports, or a stranger. Thread-safe.
#pragma once

#include <algorithm>
#include <memory>
#include <string>

#include "common/address.h"
#include "common/time.h"

namespace whippletree {

// How long a client that has so much patience (zero: without end) waits for the broker before it
// has a look.
inline Duration PortCheckDelay(Duration patience) {
  return patience > Duration(0) ? std::min<Duration>(patience / 4, milliseconds(800))
                                : milliseconds(800);
}

class PortCheck {
 public:
  // Asks in a thread that may outlive this object, for some seconds at most. It opens a connection:
  // not for each start of a program.
  explicit PortCheck(const HostPort& address);

  // Such as "what answers there speaks HTTP". Empty: nothing answers, or a door, or there is no
  // word yet.
  std::string error() const;

 private:
  struct Answer;
  std::shared_ptr<Answer> answer_;
};

}  // namespace whippletree
