#include "worker/follow_on_handler.h"

#include <utility>

namespace whippletree {

QueueHandlers WithFollowOn(QueueHandlers handlers, std::string queue) {
  QueueHandlers chained;
  if (handlers.job != nullptr) {
    chained.job = [handler = std::move(handlers.job), queue](
                      JobContext& context,
                      std::string_view payload) -> absl::StatusOr<std::string> {
      absl::StatusOr<std::string> result = handler(context, payload);
      if (!result.ok() || result->empty()) return result;
      const absl::Status status = context.Submit(queue, *result);
      if (!status.ok()) return status;
      return result;
    };
  }
  if (handlers.batch != nullptr) {
    chained.batch = [handler = std::move(handlers.batch), queue](
                        BatchContext& context,
                        std::span<const std::string_view> payloads) -> BatchResults {
      BatchResults results = handler(context, payloads);
      if (!results.ok() || results->size() != payloads.size()) return results;
      for (size_t i = 0; i < results->size(); ++i) {
        absl::StatusOr<std::string>& result = (*results)[i];
        if (!result.ok() || result->empty()) continue;
        const absl::Status status = context.Submit(queue, *result, {}, i);
        if (!status.ok()) result = status;
      }
      return results;
    };
  }
  return chained;
}

}  // namespace whippletree
