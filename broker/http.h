// What the broker shows over HTTP, to look at only: /healthz, /metrics and a page at /.
//
// One thread moves bytes and never blocks; each page is made on a thread of its own (PageMaker).
// Nobody who asks slowly, never reads the answer or brings many connections holds up the broker, or
// others who ask: a connection has one request and a time for all of it, and where one too many
// comes, the oldest of those that have not asked yet, or do not read, goes.
// There is no authentication: bound to loopback it answers only requests whose Host is loopback
// too, so that no web page can read it by DNS rebinding.
#pragma once

#include <absl/status/statusor.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "common/time.h"
#include "wire.pb.h"

namespace whippletree {

// Listen() and Stop() are for one thread.
class HttpServer {
 public:
  struct Options {
    // Fills in the broker's status. Called by several threads at a time. False: the broker does
    // not answer, which is told as 503; it should give up after a few seconds.
    std::function<bool(wire::StatusReply* status)> snapshot;
    // Whether the broker answers, without its status. The same.
    std::function<bool()> is_healthy;
    // From the begin of a connection to the last byte of the answer.
    Duration request_time_max = seconds(10);
    size_t connections_max = 64;
  };

  explicit HttpServer(Options options);
  ~HttpServer();  // Stop()
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Begins to serve on `host` (a name or an address, without brackets) and `port` (0: the system
  // chooses one). Returns the port, or UNAVAILABLE with the reason why it cannot.
  // REQUIRES: called once.
  absl::StatusOr<int> Listen(const std::string& host, int port);

  // Ends serving; returns when all threads have ended, which takes as long as a snapshot does.
  // No effect if it does not serve.
  void Stop();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace whippletree
