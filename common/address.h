// Where a broker is: HOST:PORT.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace whippletree {

inline constexpr uint16_t kDoorPortDefault = 7711;

struct HostPort {
  std::string host;
  uint16_t port = 0;

  // "host:port"; "[::1]:7711" where the host has colons.
  std::string ToString() const;
};

// HOST, HOST:PORT, [IPV6] or [IPV6]:PORT. INVALID_ARGUMENT says what is expected.
absl::StatusOr<HostPort> ParseHostPort(std::string_view text,
                                       uint16_t port_default = kDoorPortDefault);

// UNAVAILABLE, in words that say what to look at. `why`: that of NameCheck, if it has one.
absl::Status NoBrokerAnswers(const HostPort& broker, const std::string& why = "",
                             const std::string& other = "");
// The same for a log, while it is tried again.
std::string NoBrokerAnswersYet(const HostPort& broker, const std::string& why);

}  // namespace whippletree
