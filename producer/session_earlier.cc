// Of ProducerSession: a named producer that is started again, and what it has submitted before.
#include <string>
#include <string_view>

#include "common/check.h"
#include "producer/input_hash.h"
#include "producer/session.h"

namespace whippletree {

void ProducerSession::OpenStream(const std::string& queue) { Touch(GetOrAdd(queue)); }

ProducerSession::StreamState ProducerSession::GetStream(const std::string& queue) const {
  StreamState state;
  auto it = streams_.find(queue);
  if (it == streams_.end()) return state;
  state.open = it->second.opened;
  state.next_number = it->second.next_number;
  state.unsettled = it->second.unsettled;
  state.dead = it->second.earlier_state.dead();
  state.cancelled = it->second.earlier_state.cancelled();
  state.expired = it->second.earlier_state.expired();
  state.error = it->second.gone;
  return state;
}

absl::Status ProducerSession::Skip(const std::string& queue,
                                   std::span<const std::string_view> payloads,
                                   std::span<const std::string_view> names) {
  Stream& stream = streams_.at(queue);
  const wire::StreamUpdate& earlier = stream.earlier_state;
  WT_CHECK(stream.next_number == earlier.next());
  WT_CHECK(stream.skipped + payloads.size() < earlier.next());
  for (size_t i = 0; i < payloads.size(); ++i) {
    const std::string_view name = names.empty() ? std::string_view() : names[i];
    stream.input_hash = NextInputHash(stream.input_hash, name, payloads[i]);
    if (++stream.skipped != earlier.hashed() || stream.input_hash == earlier.input_hash()) continue;
    return absl::InvalidArgumentError("this is not the input that \"" + config_.name +
                                      "\" has submitted before: they differ within the first " +
                                      std::to_string(stream.skipped) + " jobs");
  }
  return absl::OkStatus();
}

// Up to each job of the run. Of a stream that goes on only if all of the input before is known.
std::vector<uint64_t> ProducerSession::HashesOf(Stream& stream, const RunData& run,
                                                const RunData& names) const {
  std::vector<uint64_t> hashes;
  if (!config_.named || stream.skipped + 1 < stream.earlier_state.next()) return hashes;
  hashes.reserve(run.count());
  for (uint32_t i = 0; i < run.count(); ++i) {
    const std::string_view name = names.count() > 0 ? names.payload(i) : std::string_view();
    stream.input_hash = NextInputHash(stream.input_hash, name, run.payload(i));
    hashes.push_back(stream.input_hash);
  }
  return hashes;
}

}  // namespace whippletree
