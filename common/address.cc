#include "common/address.h"

#include <absl/strings/ascii.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>

#include <algorithm>

namespace whippletree {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

absl::Status Invalid(std::string_view text, const std::string& what) {
  return absl::InvalidArgumentError("'" + std::string(text) + "' " + what);
}

}  // namespace

std::string HostPort::ToString() const {
  const bool brackets = host.find(':') != std::string::npos;
  return absl::StrCat(brackets ? "[" : "", host, brackets ? "]:" : ":", port);
}

absl::StatusOr<HostPort> ParseHostPort(std::string_view text, uint16_t port_default) {
  const std::string example = absl::StrCat("expected HOST:PORT, as in 127.0.0.1:", port_default);
  if (text.find("://") != std::string_view::npos) {
    return Invalid(text, "has a scheme (…://), leave it out: " + example);
  }
  const bool brackets = !text.empty() && text[0] == '[';
  if (!brackets && std::count(text.begin(), text.end(), ':') > 1) {
    return Invalid(
        text, absl::StrCat("has several colons: write an IPv6 address as [::1]:", port_default));
  }
  const size_t host_end = brackets ? text.find(']') : std::min(text.find(':'), text.size());
  if (host_end == std::string_view::npos) return Invalid(text, "lacks a ']': " + example);
  const std::string_view host = text.substr(brackets, host_end - brackets);
  const std::string_view rest = text.substr(host_end + brackets);
  if (host.empty()) return Invalid(text, "has no host: " + example);
  const auto is_odd = [](char c) { return !absl::ascii_isgraph(static_cast<unsigned char>(c)); };
  if (std::any_of(host.begin(), host.end(), is_odd) || host.find('/') != std::string_view::npos) {
    return Invalid(text, "is not an address: " + example);
  }
  if (!brackets && std::all_of(host.begin(), host.end(), IsDigit)) {
    return Invalid(text, "is a number only: " + example);
  }
  if (rest.empty()) return HostPort{std::string(host), port_default};
  uint32_t port = 0;
  const bool is_number =
      rest[0] == ':' && rest.size() > 1 && std::all_of(rest.begin() + 1, rest.end(), IsDigit) &&
      absl::SimpleAtoi(absl::string_view(rest.data() + 1, rest.size() - 1), &port);
  if (!is_number || port == 0 || port > 65535) {
    return Invalid(text, "has no port from 1 to 65535: " + example);
  }
  return HostPort{std::string(host), static_cast<uint16_t>(port)};
}

absl::Status NoBrokerAnswers(const HostPort& broker, const std::string& why,
                             const std::string& other) {
  if (why.empty() && !other.empty()) {
    return absl::UnavailableError("no broker answers at " + broker.ToString() + ": " + other +
                                  "; give the address of the broker's door (7711, or the --port "
                                  "that it was started with)");
  }
  if (!why.empty()) {
    return absl::UnavailableError("no broker answers at " + broker.ToString() + ": " + why +
                                  "; is it spelt right?");
  }
  return absl::UnavailableError("no broker answers at " + broker.ToString() +
                                "; is it running? (whippletree-broker serve)");
}

std::string NoBrokerAnswersYet(const HostPort& broker, const std::string& why) {
  return "no broker answers at " + broker.ToString() + (why.empty() ? "" : ": " + why) +
         "; trying again";
}

}  // namespace whippletree
