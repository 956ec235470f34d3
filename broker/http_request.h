// The head of an HTTP request, as far as the broker's pages need it: a method, a path and the Host.
// Pure functions, for bytes that anybody may have sent. All else that a head can say (ranges,
// encodings, bodies, connections to keep) is not looked at.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace whippletree {

// The most that a head takes. Browsers send a few kilobytes, with the cookies of other programs.
inline constexpr size_t kHttpHeadBytesMax = 16 << 10;

struct HttpRequest {
  std::string method;
  std::string path;  // without what follows a '?'; escapes (%41) stay
  // Of the only Host field, as HostOfField() reads it; empty: there is none, or more than one.
  std::string host;
};

// The size of the head that `bytes` begin with, its empty line included; 0: it has not ended yet.
size_t HttpHeadSize(std::string_view bytes);

// Takes a head apart. Nullopt: it is not one of HTTP/1.0 or HTTP/1.1.
std::optional<HttpRequest> ParseHttpHead(std::string_view head);

// The host of a Host field in lower case: "[::1]:80", "LOCALHOST:80" and "localhost" without the
// port and the brackets. Empty: it is not a host with or without a port.
std::string HostOfField(std::string_view field);

// Whether a host, in lower case and without brackets, is this machine and no other.
bool IsLoopbackHost(std::string_view host);

}  // namespace whippletree
