// What the broker shows over HTTP: its pages, as answers without what a connection adds.
#pragma once

#include <string>
#include <string_view>

#include "wire.pb.h"

namespace whippletree {

struct HttpAnswer {
  int status = 200;
  std::string content_type;
  std::string body;
};

// One line of text.
HttpAnswer PlainAnswer(int status, std::string_view line);

// The pages. `status`: null if the broker does not answer, which is told as 503.
HttpAnswer HealthPage(bool is_healthy);
HttpAnswer MetricsPage(const wire::StatusReply* status);
HttpAnswer StatusPage(const wire::StatusReply* status);
HttpAnswer StylePage();

// Everything before the body: status line, fields and the empty line. The connection ends with the
// answer.
std::string HttpAnswerHead(const HttpAnswer& answer);

}  // namespace whippletree
