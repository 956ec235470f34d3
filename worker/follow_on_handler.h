// Chains queues: the result of each job becomes a job of the next queue.
#pragma once

#include <string>

#include "worker/handler_call.h"

namespace whippletree {

// Handlers that do what `handlers` do, and submit the result of each completed job, unless it is
// empty, as a follow-on job to `queue`. A job whose result cannot be submitted fails, with the
// status of Submit().
QueueHandlers WithFollowOn(QueueHandlers handlers, std::string queue);

}  // namespace whippletree
