#include "common/name_check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <string.h>

#include <mutex>
#include <system_error>
#include <thread>

namespace whippletree {

struct NameCheck::Answer {
  std::mutex mutex;
  std::string error;
};

NameCheck::NameCheck(const std::string& host) : answer_(std::make_shared<Answer>()) {
  unsigned char address[sizeof(in6_addr)];
  const std::string numbers = host.substr(0, host.find('%'));  // fe80::1%eth0
  for (const int family : {AF_INET, AF_INET6}) {
    if (inet_pton(family, numbers.c_str(), address) == 1) return;
  }
  try {
    std::thread([host, answer = answer_] {
      addrinfo hints{};
      hints.ai_socktype = SOCK_STREAM;
      addrinfo* found = nullptr;
      const int error = getaddrinfo(host.c_str(), nullptr, &hints, &found);
      const std::string why = error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error);
      if (error == 0) return freeaddrinfo(found);
      const std::lock_guard lock(answer->mutex);
      answer->error = "the name " + host + " does not resolve (" + why + ")";
    }).detach();
  } catch (const std::system_error&) {  // no thread: then nobody knows
  }
}

std::string NameCheck::error() const {
  const std::lock_guard lock(answer_->mutex);
  return answer_->error;
}

}  // namespace whippletree
