#include "broker/http_pages.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_replace.h>

#include "broker/metrics.h"
#include "broker/status_text.h"

namespace whippletree {
namespace {

constexpr char kNoAnswer[] = "the broker does not answer";

constexpr char kStyle[] =
    "body { margin: 2em; font: 15px sans-serif; color: #222; background: #fcfcfa }\n"
    "h1 { font-size: 1.3em }\n"
    "pre { font: 13px/1.5 monospace; overflow-x: auto }\n"
    "@media (prefers-color-scheme: dark) { body { color: #ddd; background: #1c1c1a }\n"
    "  a { color: #9bf } }\n";

// The browser fetches the page again every 2 seconds: no script is needed.
constexpr char kPageTop[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta http-equiv=\"refresh\" content=\"2\">\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n"
    "<title>whippletree</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n</head>\n<body>\n"
    "<h1>whippletree broker</h1>\n"
    "<p><a href=\"/metrics\">/metrics</a> for Prometheus,"
    " <a href=\"/healthz\">/healthz</a> for health checks.</p>\n<pre>";
constexpr char kPageBottom[] = "</pre>\n</body>\n</html>\n";

// Of every answer.
constexpr char kFields[] =
    "Cache-Control: no-store\r\n"
    "Content-Security-Policy: default-src 'none'; style-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "X-Frame-Options: DENY\r\n"
    "Connection: close\r\n";

std::string EscapeHtml(const std::string& text) {
  return absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

const char* ReasonOf(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 431:
      return "Request Header Fields Too Large";
    default:
      return "Service Unavailable";
  }
}

}  // namespace

HttpAnswer PlainAnswer(int status, std::string_view line) {
  return {status, "text/plain; charset=utf-8", absl::StrCat(std::string(line), "\n")};
}

HttpAnswer HealthPage(bool is_healthy) {
  return is_healthy ? PlainAnswer(200, "ok") : PlainAnswer(503, kNoAnswer);
}

HttpAnswer MetricsPage(const wire::StatusReply* status) {
  if (status == nullptr) return PlainAnswer(503, kNoAnswer);
  return {200, kMetricsContentType, MetricsText(*status)};
}

HttpAnswer StatusPage(const wire::StatusReply* status) {
  const std::string text =
      status == nullptr ? absl::StrCat(kNoAnswer, "\n") : EscapeHtml(StatusText(*status));
  return {status == nullptr ? 503 : 200, "text/html; charset=utf-8",
          absl::StrCat(kPageTop, text, kPageBottom)};
}

HttpAnswer StylePage() { return {200, "text/css", kStyle}; }

std::string HttpAnswerHead(const HttpAnswer& answer) {
  return absl::StrCat("HTTP/1.1 ", answer.status, " ", ReasonOf(answer.status), "\r\n", kFields,
                      answer.status == 405 ? "Allow: GET, HEAD\r\n" : "",
                      "Content-Type: ", answer.content_type,
                      "\r\nContent-Length: ", answer.body.size(), "\r\n\r\n");
}

}  // namespace whippletree
