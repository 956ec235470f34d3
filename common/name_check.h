// Whether the name of a broker's host resolves, for those who do not reach it: libzmq resolves
// names in a thread of its own, tries again for ever and tells nobody. Thread-safe.
#pragma once

#include <memory>
#include <string>

namespace whippletree {

class NameCheck {
 public:
  // Asks in a thread that may outlive this object: an answer may take many seconds, and cannot be
  // called off. Addresses are not asked for.
  explicit NameCheck(const std::string& host);

  // Such as "the name alpha does not resolve (Name or service not known)". Empty: it does, or there
  // is no answer yet.
  std::string error() const;

 private:
  struct Answer;
  std::shared_ptr<Answer> answer_;
};

}  // namespace whippletree
