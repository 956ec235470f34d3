// The codec: a frame of a run of jobs, and back.
#include <benchmark/benchmark.h>

#include <string>

#include "common/codec.h"
#include "common/run.h"

namespace whippletree {
namespace {

void FillSubmit(int64_t jobs, wire::Envelope* message) {
  wire::Submit* submit = message->mutable_submit();
  submit->set_session(1);
  submit->set_queue("q");
  submit->set_first(1);
  const std::string payload(100, 'x');
  for (int64_t i = 0; i < jobs; ++i) AppendToRun(payload, submit->mutable_run());
}

void BM_Encode(benchmark::State& state) {
  wire::Envelope message;
  FillSubmit(state.range(0), &message);
  std::string frame;
  for (auto _ : state) {
    frame.clear();
    Encode(&message, &frame);
    benchmark::DoNotOptimize(frame.data());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_Encode)->Arg(1)->Arg(500);

void BM_Decode(benchmark::State& state) {
  wire::Envelope message;
  FillSubmit(state.range(0), &message);
  std::string frame;
  Encode(&message, &frame);
  wire::Envelope decoded;
  for (auto _ : state) {
    if (!Decode(frame, Receiver::kSubmit, &decoded).ok())
      state.SkipWithError("a frame that does not decode");
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_Decode)->Arg(1)->Arg(500);

}  // namespace
}  // namespace whippletree
