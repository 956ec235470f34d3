// What the broker shows over HTTP, to look at only: /healthz, /metrics and a page at /.
//
// Serves on threads of its own, so that nobody who asks slowly, or never reads the answer, holds
// up the broker. There is no authentication: bound to loopback it answers only requests whose Host
// is loopback too, so that no web page can read it by DNS rebinding.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <memory>
#include <string>

#include "wire.pb.h"

namespace whippletree {

// Listen() and Stop() are for one thread.
class HttpServer {
 public:
  // Fills in the broker's status. Called by several threads at a time. False: the broker does not
  // answer, which is told as 503; it should give up after a few seconds.
  using Snapshot = std::function<bool(wire::StatusReply* status)>;

  explicit HttpServer(Snapshot snapshot);
  ~HttpServer();  // Stop()
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Begins to serve on `host` (a name or an address, without brackets) and `port` (0: the system
  // chooses one). Returns the port, or UNAVAILABLE with the reason why it cannot.
  // REQUIRES: called once.
  absl::StatusOr<int> Listen(const std::string& host, int port);

  // Ends serving; returns when all threads have ended, which takes as long as a request does.
  // No effect if it does not serve.
  void Stop();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace whippletree
