#include "worker/handler_call.h"

#include <algorithm>
#include <exception>
#include <limits>
#include <utility>

#include "common/check.h"

namespace whippletree {
namespace {

template <typename Result, typename Call>
Result Guarded(const Call& call) {
  try {
    return call();
  } catch (const std::exception& error) {
    return absl::InternalError(std::string("the handler threw: ") + error.what());
  } catch (...) {
    return absl::InternalError("the handler threw");
  }
}

}  // namespace

absl::StatusOr<std::string> CallHandler(const Handler& handler, JobContext& context,
                                        std::string_view payload) {
  return Guarded<absl::StatusOr<std::string>>([&] { return handler(context, payload); });
}

BatchResults CallBatchHandler(const BatchHandler& handler, BatchContext& context,
                              std::span<const std::string_view> payloads) {
  BatchResults results = Guarded<BatchResults>([&] { return handler(context, payloads); });
  if (results.ok() && results->size() != payloads.size()) {
    return absl::InternalError("the batch handler gave " + std::to_string(results->size()) +
                               " results for " + std::to_string(payloads.size()) + " jobs");
  }
  return results;
}

absl::StatusOr<std::string> CallWithOne(const BatchHandler& handler, BatchContext& context,
                                        std::string_view payload) {
  BatchResults results = CallBatchHandler(handler, context, {&payload, 1});
  if (!results.ok()) return results.status();
  return std::move(results->front());
}

std::vector<wire::FollowOn> ToWire(std::vector<FollowOnRun> runs,
                                   std::span<const uint32_t> indexes) {
  if (runs.empty()) return {};
  // A batch handler may add them in any order of its jobs.
  std::stable_sort(runs.begin(), runs.end(),
                   [](const FollowOnRun& a, const FollowOnRun& b) { return a.job < b.job; });
  std::vector<wire::FollowOn> follow_ons;
  follow_ons.reserve(runs.size());
  for (FollowOnRun& run : runs) {
    wire::FollowOn& out = follow_ons.emplace_back();
    out.set_index(indexes[run.job]);
    out.set_queue(std::move(run.queue));
    // Rounded up: a timeout of less than a millisecond is one.
    const auto timeout = std::chrono::ceil<milliseconds>(run.options.timeout).count();
    out.mutable_options()->set_timeout_ms(
        static_cast<uint32_t>(std::min<int64_t>(timeout, std::numeric_limits<uint32_t>::max())));
    out.mutable_options()->set_max_attempts(run.options.max_attempts);
    out.mutable_options()->set_key(std::move(run.options.key));
    out.mutable_run()->mutable_sizes()->Add(run.sizes.begin(), run.sizes.end());
    *out.mutable_run()->mutable_block() = std::move(run.block);
  }
  return follow_ons;
}

uint32_t IndexOf(const wire::Delivery& delivery, uint32_t position) {
  return delivery.indexes_size() > 0 ? delivery.indexes(static_cast<int>(position)) : position;
}

DeliveredJob JobReader::At(uint32_t position) {
  const auto job = [](uint64_t stream, uint64_t number, uint32_t attempt,
                      const wire::JobOptions& options) {
    return DeliveredJob{stream, number, attempt, options.timeout_ms()};
  };
  if (!delivery_.batch()) {
    return job(delivery_.stream(), delivery_.first() + IndexOf(delivery_, position),
               delivery_.attempt(), delivery_.options());
  }
  while (position >= part_begin_ + delivery_.parts(part_).count()) {
    part_begin_ += delivery_.parts(part_++).count();
    WT_CHECK(part_ < delivery_.parts_size());
  }
  const wire::DeliveryPart& part = delivery_.parts(part_);
  return job(part.stream(), part.first() + (position - part_begin_), part.attempt(),
             part.options());
}

}  // namespace whippletree
