// Shows the broker's status to Prometheus. Stateless, thread-safe.
#pragma once

#include <string>

#include "wire.pb.h"

namespace whippletree {

// The Content-Type of MetricsText.
inline constexpr char kMetricsContentType[] = "text/plain; version=0.0.4; charset=utf-8";

// The status in Prometheus' text format, version 0.0.4. Made from this one snapshot, so that the
// ledger adds up: per queue accepted = waiting + leased + completed + dead + cancelled + expired.
std::string MetricsText(const wire::StatusReply& status);

}  // namespace whippletree
