// Bytes of an HTTP request → where its head ends, and what it says.
#include <algorithm>
#include <string>
#include <string_view>

#include "broker/http_request.h"
#include "tests/fuzz/target.h"

namespace whippletree::fuzz {
namespace {

// As simple as it can be: lines of the head that name a host, whatever else is on them.
int HostLines(std::string_view head) {
  std::string lower(head);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  int lines = 0;
  for (size_t at = 0; (at = lower.find("\r\nhost:", at)) != std::string::npos; ++at) ++lines;
  return lines;
}

void Fuzz(std::string_view input) {
  const size_t size = HttpHeadSize(input);
  Require(size <= input.size());
  // It has not ended before.
  if (size > 0) Require(HttpHeadSize(input.substr(0, size - 1)) == 0);
  const std::string_view head = input.substr(0, size);
  const auto request = ParseHttpHead(head);
  if (!request) return;
  Require(size > 0 && !request->method.empty());
  Require(request->path.find_first_of("? ") == std::string::npos);
  // What is taken for this machine is nothing else by another reading.
  if (request->host.empty()) return;
  Require(HostLines(head) == 1);
  if (IsLoopbackHost(request->host) && request->host != "::1")
    Require(HostOfField(request->host) == request->host);
}

const RegisterTarget kTarget("http", Fuzz);

}  // namespace
}  // namespace whippletree::fuzz
