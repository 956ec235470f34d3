#include "broker/http_request.h"

#include <algorithm>
#include <cstdint>

namespace whippletree {
namespace {

constexpr std::string_view kLineEnd = "\r\n";

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool IsAlphanumeric(char c) {
  return IsDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// Of methods and names of fields (RFC 9110, 5.6.2).
bool IsToken(std::string_view text) {
  constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return IsAlphanumeric(c) || kOthers.find(c) != std::string_view::npos;
  });
}

std::string ToLower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return lower;
}

std::string_view Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// Cuts what comes before `end`, and `end`, off `text`. False: there is no `end`.
bool Cut(std::string_view end, std::string_view* text, std::string_view* part) {
  const size_t at = text->find(end);
  if (at == std::string_view::npos) return false;
  *part = text->substr(0, at);
  text->remove_prefix(at + end.size());
  return true;
}

// GET /metrics?x HTTP/1.1
bool ParseRequestLine(std::string_view line, HttpRequest* request) {
  std::string_view method;
  std::string_view target;
  if (!Cut(" ", &line, &method) || !Cut(" ", &line, &target)) return false;
  if (!IsToken(method) || target.empty() || (line != "HTTP/1.1" && line != "HTTP/1.0")) {
    return false;
  }
  request->method = method;
  request->path = target.substr(0, target.find('?'));
  return true;
}

}  // namespace

size_t HttpHeadSize(std::string_view bytes) {
  const size_t end = bytes.find("\r\n\r\n");
  return end == std::string_view::npos ? 0 : end + 4;
}

std::optional<HttpRequest> ParseHttpHead(std::string_view head) {
  // Nothing of a head is anything but visible characters, spaces and tabs; bytes above are
  // somebody's own.
  const auto is_allowed = [](char c) {
    const auto byte = static_cast<uint8_t>(c);
    return (byte >= 0x20 && byte != 0x7f) || byte == '\t';
  };
  HttpRequest request;
  std::string_view line;
  if (!Cut(kLineEnd, &head, &line) || !ParseRequestLine(line, &request)) return std::nullopt;
  int hosts = 0;
  while (true) {
    if (!Cut(kLineEnd, &head, &line)) return std::nullopt;
    if (line.empty()) break;
    std::string_view name;
    if (!std::all_of(line.begin(), line.end(), is_allowed) || !Cut(":", &line, &name) ||
        !IsToken(name)) {
      return std::nullopt;
    }
    if (ToLower(name) == "host") {
      ++hosts;
      request.host = HostOfField(Trim(line));
    }
  }
  if (hosts != 1) request.host.clear();
  return request;
}

std::string HostOfField(std::string_view field) {
  std::string_view host = field;
  if (field.starts_with('[')) {
    field.remove_prefix(1);
    if (!Cut("]", &field, &host)) return "";
  } else {
    host = field.substr(0, field.find(':'));
    field.remove_prefix(host.size());
  }
  const bool is_port =
      field.empty() || (field[0] == ':' && std::all_of(field.begin() + 1, field.end(), IsDigit));
  const bool is_host = std::all_of(host.begin(), host.end(), [](char c) {
    return IsAlphanumeric(c) || c == '.' || c == '-' || c == '_' || c == ':';
  });
  return is_port && is_host ? ToLower(host) : "";
}

bool IsLoopbackHost(std::string_view host) {
  return host == "localhost" || host == "::1" ||
         (host.starts_with("127.") &&
          host.find_first_not_of("0123456789.") == std::string_view::npos);
}

}  // namespace whippletree
