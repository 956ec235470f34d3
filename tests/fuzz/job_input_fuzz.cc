// What `submit` reads → jobs. However it is cut into pieces, they are the same.
//
//   input = control cut text   control: format and names; cut: bytes of the first piece; one byte
//   each
#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "producer/job_reader.h"
#include "tests/fuzz/byte_source.h"
#include "tests/fuzz/target.h"

namespace whippletree::fuzz {
namespace {

// Jobs and errors, in order.
std::vector<std::string> Read(const JobReader::Options& options, std::string_view first,
                              std::string_view rest) {
  constexpr WallTime kNow{std::chrono::hours(500'000)};
  std::vector<std::string> read;
  JobReader reader(
      options,
      [&](std::span<const std::string_view> payloads, std::span<const std::string_view> names,
          const JobOptions& job) {
        Require(names.empty() || names.size() == payloads.size());
        for (size_t i = 0; i < payloads.size(); ++i) {
          Require(payloads[i].size() <= options.payload_bytes_max);
          read.push_back("job " + std::string(names.empty() ? "" : names[i]) + " " + job.key + " " +
                         std::string(payloads[i]));
        }
      },
      [&](const BadInput& bad) {
        read.push_back("line " + std::to_string(bad.line) + ": " + bad.message);
      });
  reader.Add(first, kNow);
  reader.Add(rest, kNow);
  reader.End(kNow);
  return read;
}

void Fuzz(std::string_view input) {
  ByteSource source(input);
  JobReader::Options options;
  const uint8_t control = source.Byte();
  options.format = static_cast<InputFormat>(control % 3);
  options.names = (control & 4) != 0;
  options.payload_bytes_max = 64;
  const size_t cut = source.Byte();
  const std::string_view text = source.Rest();
  const std::string_view first = text.substr(0, cut);
  Require(Read(options, text, "") == Read(options, first, text.substr(first.size())));
}

const RegisterTarget kTarget("job_input", Fuzz);

}  // namespace
}  // namespace whippletree::fuzz
