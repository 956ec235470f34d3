#include "broker/http.h"

#include <absl/status/status.h>
#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_replace.h>
#include <httplib.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <thread>
#include <utility>

#include "broker/metrics.h"
#include "broker/status_text.h"

namespace whippletree {
namespace {

constexpr size_t kThreads = 3;
constexpr size_t kRequestBodyBytesMax = 1024;
constexpr int kIoTimeoutSeconds = 2;

constexpr char kPlain[] = "text/plain; charset=utf-8";
constexpr char kNoAnswer[] = "the broker does not answer\n";

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

const httplib::Headers kHeaders = {
    {"Cache-Control", "no-store"},
    {"Content-Security-Policy",
     "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
     "frame-ancestors 'none'"},
    {"Referrer-Policy", "no-referrer"},
    {"X-Content-Type-Options", "nosniff"},
    {"X-Frame-Options", "DENY"},
};

std::string EscapeHtml(const std::string& text) {
  return absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

// "[::1]:80", "localhost:80", "localhost" without the port and the brackets, in lower case.
std::string HostOnly(std::string_view host) {
  const size_t bracket = host.find(']');
  if (!host.empty() && host[0] == '[' && bracket != std::string_view::npos) {
    host = host.substr(1, bracket - 1);
  } else if (host.find(':') == host.rfind(':')) {
    host = host.substr(0, host.find(':'));
  }
  return absl::AsciiStrToLower(absl::string_view(host.data(), host.size()));
}

bool IsLoopback(const std::string& host) {
  return host == "localhost" || host == "::1" ||
         (absl::StartsWith(host, "127.") &&
          host.find_first_not_of("0123456789.") == std::string::npos);
}

// httplib's own options include SO_REUSEPORT, with which a second broker would take half of the
// requests instead of being told that the port is in use.
void SetSocketOptions(int socket) {
  const int yes = 1;
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
}

void Reply(int status, const std::string& text, httplib::Response* response) {
  response->status = status;
  response->set_content(text, kPlain);
}

}  // namespace

class HttpServer::Impl {
 public:
  explicit Impl(Snapshot snapshot) : snapshot_(std::move(snapshot)) {
    server_.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
    server_.set_socket_options([](auto socket) { SetSocketOptions(socket); });
    server_.set_payload_max_length(kRequestBodyBytesMax);
    server_.set_read_timeout(kIoTimeoutSeconds);
    server_.set_write_timeout(kIoTimeoutSeconds);
    // A connection kept alive would keep one of the few threads.
    server_.set_keep_alive_max_count(1);
    server_.set_default_headers(kHeaders);
    server_.set_pre_routing_handler(
        [this](const httplib::Request& request, httplib::Response& response) {
          return Refuse(request, &response) ? httplib::Server::HandlerResponse::Handled
                                            : httplib::Server::HandlerResponse::Unhandled;
        });
    server_.set_exception_handler([](const httplib::Request&, httplib::Response& response,
                                     std::exception_ptr) { Reply(500, "", &response); });
    server_.set_error_handler([](const httplib::Request&, httplib::Response& response) {
      if (!response.body.empty()) return;
      Reply(response.status,
            absl::StrCat(response.status, response.status == 404
                                              ? " there is only /, /healthz and /metrics\n"
                                              : " this request cannot be answered\n"),
            &response);
    });
    AddPages();
  }

  ~Impl() { Stop(); }

  absl::StatusOr<int> Listen(const std::string& host, int port) {
    host_ = HostOnly(host);
    check_host_ = IsLoopback(host_);
    errno = 0;
    const int bound = port == 0                          ? server_.bind_to_any_port(host)
                      : server_.bind_to_port(host, port) ? port
                                                         : -1;
    if (bound < 0) {
      const int error = errno;  // stays 0 if `host` could not be resolved
      return absl::UnavailableError(
          absl::StrCat("cannot serve HTTP on ", host, " port ", port, ": ",
                       error != 0 ? std::strerror(error) : "no such address here"));
    }
    thread_ = std::thread([this] {
      server_.listen_after_bind();
      ended_ = true;
    });
    // httplib's stop() has no effect before it runs.
    while (!server_.is_running() && !ended_) std::this_thread::yield();
    return bound;
  }

  void Stop() {
    if (!thread_.joinable()) return;
    server_.stop();
    thread_.join();
  }

 private:
  // Whether a request is none of those answered here; then `response` says why.
  bool Refuse(const httplib::Request& request, httplib::Response* response) const {
    if (check_host_) {
      const std::string host = HostOnly(request.get_header_value("Host"));
      if (request.get_header_value_count("Host") != 1 || !(IsLoopback(host) || host == host_)) {
        Reply(403, "403 the Host of the request is not this machine: use 127.0.0.1\n", response);
        return true;
      }
    }
    if (request.method != "GET" && request.method != "HEAD") {
      response->set_header("Allow", "GET, HEAD");
      Reply(405, "405 only GET and HEAD\n", response);
      return true;
    }
    return false;
  }

  void AddPages() {
    server_.Get("/healthz", [this](const httplib::Request&, httplib::Response& response) {
      wire::StatusReply status;
      const bool healthy = snapshot_(&status);
      Reply(healthy ? 200 : 503, healthy ? "ok\n" : kNoAnswer, &response);
    });
    server_.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
      wire::StatusReply status;
      if (!snapshot_(&status)) return Reply(503, kNoAnswer, &response);
      response.set_content(MetricsText(status), kMetricsContentType);
    });
    server_.Get("/style.css", [](const httplib::Request&, httplib::Response& response) {
      response.set_content(kStyle, "text/css");
    });
    server_.Get("/", [this](const httplib::Request&, httplib::Response& response) {
      wire::StatusReply status;
      const bool healthy = snapshot_(&status);
      response.status = healthy ? 200 : 503;
      const std::string text = healthy ? StatusText(status) : kNoAnswer;
      response.set_content(absl::StrCat(kPageTop, EscapeHtml(text), kPageBottom),
                           "text/html; charset=utf-8");
    });
  }

  const Snapshot snapshot_;
  httplib::Server server_;
  std::thread thread_;
  std::atomic<bool> ended_{false};
  // Constant once Listen() has begun to serve.
  std::string host_;
  bool check_host_ = true;
};

HttpServer::HttpServer(Snapshot snapshot) : impl_(std::make_unique<Impl>(std::move(snapshot))) {}
HttpServer::~HttpServer() = default;

absl::StatusOr<int> HttpServer::Listen(const std::string& host, int port) {
  return impl_->Listen(host, port);
}

void HttpServer::Stop() { impl_->Stop(); }

}  // namespace whippletree
