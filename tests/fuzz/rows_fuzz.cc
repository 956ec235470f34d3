// Rows of a store → Broker::Restore: what is damaged is an error, and what is taken is a broker
// that works. The same rows go to what checks a store without a broker.
//
//   input = { control, row }   row: bytes of a record; or fields of one kind, mostly small numbers
#include <map>
#include <string>

#include "broker/core/broker.h"
#include "broker/store/keys.h"
#include "broker/store/row_checker.h"
#include "common/interval_set.h"
#include "tests/fuzz/byte_source.h"
#include "tests/fuzz/grammar.h"
#include "tests/fuzz/peer.h"

namespace whippletree::fuzz {
namespace {

using record::Record;

constexpr int kRowsMax = 64;

class Rows {
 public:
  explicit Rows(ByteSource* input) : input_(input), grammar_(input, &words_) {
    words_.queues = {"q", "b", "m"};
    words_.names = {"p", "w", "n"};
    words_.tokens = {1, 2, 3};
    words_.streams = {1, 2, 3};
  }

  // By key, as a store has them.
  std::map<std::string, Record> Make() {
    std::map<std::string, Record> rows;
    const bool sums = input_->Flag();
    for (int i = 0; i < kRowsMax && !input_->empty(); ++i) {
      const Record row = MakeRow();
      const auto key = KeyOf(row);
      if (key.ok() && !row.erased()) rows[*key] = row;
    }
    if (sums) FixLedgers(&rows);
    return rows;
  }

 private:
  Record MakeRow() {
    Record row;
    const uint8_t control = input_->Byte();
    const auto* type = Record::descriptor()->FindFieldByNumber(control % 16);
    if (type == nullptr || type->message_type() == nullptr) {
      const std::string_view bytes = input_->Bytes(65'535);
      row.ParsePartialFromArray(bytes.data(), static_cast<int>(bytes.size()));
      return row;
    }
    grammar_.Fill(Record::GetReflection()->MutableMessage(&row, type), 1);
    return row;
  }

  // Most rows do not get far when the sums are wrong.
  static void FixLedgers(std::map<std::string, Record>* rows) {
    std::map<uint64_t, std::string> queue_of;
    std::map<uint64_t, IntervalSet> open;
    for (const auto& [key, row] : *rows) {
      if (row.has_stream()) queue_of[row.stream().number()] = row.stream().queue();
      const uint64_t first = row.has_run() ? row.run().first() : row.ended().first();
      if (row.has_run()) {
        open[row.run().stream()].Add(first,
                                     first + static_cast<uint64_t>(row.run().jobs().sizes_size()));
      }
      if (row.has_ended()) open[row.ended().stream()].Remove(first, first + row.ended().count());
    }
    std::map<std::string, uint64_t> jobs;
    for (const auto& [stream, set] : open) jobs[queue_of[stream]] += set.size();
    for (auto& [key, row] : *rows) {
      if (!row.has_queue()) continue;
      record::Queue& queue = *row.mutable_queue();
      queue.set_accepted(queue.completed() + queue.dead() + queue.cancelled() + queue.expired() +
                         jobs[queue.name()]);
    }
  }

  ByteSource* const input_;
  Words words_;
  Grammar grammar_;
};

core::Config MakeConfig() {
  core::Config config;
  config.epoch = 2;
  config.store_id = "store";
  config.last_commit = 5;
  config.memory_limit_bytes = 64 << 20;
  config.default_policy.durable = true;
  config.default_policy.max_attempts = 2;
  config.queues["b"] = config.default_policy;
  config.queues["b"].batch.max_jobs = 3;
  config.queues["m"].durable = false;  // it was durable once
  return config;
}

void Fuzz(std::string_view input) {
  ByteSource source(input);
  const std::map<std::string, Record> rows = Rows(&source).Make();
  RowChecker checker([](const std::string&) {});
  core::Broker broker(MakeConfig());
  for (const auto& [key, row] : rows) {
    checker.Add(key, row.SerializeAsString());
    KeyText(key);
    if (!broker.Restore(row).ok()) return;
  }
  Instant now{MonoTime(std::chrono::hours(1)), WallTime(std::chrono::hours(500'000))};
  core::Effects effects;
  if (!broker.FinishRestore(now, &effects).ok()) return;
  broker.CheckInvariants();
  std::vector<core::Input> inputs;
  inputs.emplace_back(core::FrameIn{core::Channel::kDoor, "w",
                                    FirstHello(wire::WORKER, "another", {"q", "b", "m"})});
  for (int i = 0; i < 8; ++i) {
    // A minute and more in all: leases end, peers are forgotten.
    if (effects.commit != 0) inputs.emplace_back(core::Durable{effects.commit});
    for (const core::Load& load : effects.loads) {
      const auto row = rows.find(KeyOf(RowKey{load.kind, load.stream, load.first}));
      if (row != rows.end()) {
        inputs.emplace_back(core::Loaded{load, row->second});
      } else {
        inputs.emplace_back(core::Loaded{load, absl::NotFoundError("there is no such row")});
      }
    }
    effects.Clear();
    broker.Step(now, inputs, &effects);
    inputs.clear();
    broker.CheckInvariants();
    now.mono += seconds(10);
    now.wall += seconds(10);
  }
}

const RegisterTarget kTarget("rows", Fuzz);

}  // namespace
}  // namespace whippletree::fuzz
