// Frames of bytes → codec → the broker's core, on all three channels, as its shell does it.
//
//   input = { control, [time], frame }   control: see Control; time: one byte, if it says so;
//                                        frame: two bytes of length, then its bytes
//
// There are a producer, a worker, and jobs that it has; a frame may be told that it is of their
// session, whose numbers bytes alone would hardly hit.
//
// To make a broker takes ten times as long as to give it a frame, so an input mostly finds what
// those before it have left. All that was given to one broker is an input, too, and is in the file
// that FUZZ_HISTORY names, whatever ends the process: it is what to run when the last input alone
// does not do it again.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "broker/core/broker.h"
#include "common/codec.h"
#include "common/run.h"
#include "tests/fuzz/byte_source.h"
#include "tests/fuzz/grammar.h"
#include "tests/fuzz/history.h"
#include "tests/fuzz/peer.h"

namespace whippletree::fuzz {
namespace {

using core::Channel;

constexpr int kRunsMax = 64;       // of one broker
constexpr size_t kQueuesMax = 64;  // the same
constexpr size_t kFrameBytesMax = 65'535;

struct Control {
  explicit Control(uint8_t byte)
      : channel(static_cast<Channel>(byte % 3)),
        own_session((byte & 0x10) != 0),
        of_worker((byte & 0x20) != 0),
        later((byte & 0x40) != 0),
        step((byte & 0x80) == 0) {}

  Channel channel;
  bool own_session;  // the message gets the session of the producer or the worker
  bool of_worker;
  bool later;  // time goes on before
  bool step;   // else it waits for the next frame: several inputs of one step
};

core::Config MakeConfig() {
  core::Config config;
  config.store_id = "store";
  config.memory_limit_bytes = 64 << 20;
  config.payload_bytes_max = config.result_bytes_max = 64 << 10;
  core::QueuePolicy& durable = config.queues["d"];
  durable.durable = true;
  core::QueuePolicy& batches = config.queues["b"];
  batches.batch.max_jobs = 4;
  batches.keys.ordered = true;
  return config;
}

class Scene {
 public:
  Scene() : broker_(MakeConfig()) {
    Step({});
    producer_ = Join("p", FirstHello(wire::PRODUCER, "p"));
    worker_ = Join("w", FirstHello(wire::WORKER, "w", {"q", "d", "b"}));
    std::vector<core::Input> submits;
    for (const char* queue : {"q", "d", "b"}) {
      core::FrameIn submit{Channel::kSubmit, "", {}};
      wire::Submit* body = submit.message.mutable_submit();
      SetSession(producer_, &submit.message);
      body->set_queue(queue);
      body->set_first(1);
      for (int i = 0; i < 3; ++i) AppendToRun("job", body->mutable_run());
      submits.emplace_back(std::move(submit));
    }
    Step(std::move(submits));
  }

  // So much came that a new one is due.
  bool worn() const { return runs_ >= kRunsMax || broker_.queues().size() > kQueuesMax; }

  // False: all of it was bad, and has changed counters only.
  bool Run(ByteSource input) {
    bool touched = false;
    std::vector<core::Input> inputs;
    while (!input.empty()) {
      const uint8_t byte = input.Byte();
      const Control control(byte);
      if (control.later) {
        Advance(input.Byte());
        touched = true;
      }
      core::FrameIn in{control.channel, RouteOf(control), {}};
      absl::Status error =
          Decode(input.Bytes(kFrameBytesMax), core::ReceiverOf(control.channel), &in.message);
      if (error.ok()) {
        touched = true;
        if (control.own_session) SetSession(control.of_worker ? worker_ : producer_, &in.message);
        inputs.emplace_back(std::move(in));
      } else {
        inputs.emplace_back(core::BadFrame{in.channel, std::move(in.route), std::move(error)});
      }
      if (control.step) Step(std::exchange(inputs, {}));
    }
    Step(std::move(inputs));
    if (!touched) return false;
    ++runs_;
    broker_.CheckInvariants();
    return true;
  }

 private:
  static std::string RouteOf(const Control& control) {
    if (control.channel != Channel::kDoor) return "";
    return control.of_worker ? "w" : "p";
  }

  // Its session is that of the welcome.
  Session Join(const std::string& route, wire::Envelope message) {
    Step({core::FrameIn{Channel::kDoor, route, std::move(message)}});
    return {welcome_.welcome().session(), welcome_.welcome().secret()};
  }

  void Advance(uint8_t steps) {
    const Duration by = milliseconds(1) * (1 << steps % 16);
    now_.mono += by;
    now_.wall += by;
  }

  void Step(std::vector<core::Input> inputs) {
    effects_.Clear();
    broker_.Step(now_, inputs, &effects_);
    for (const core::Send& send : effects_.sends) {
      wire::Envelope message = Reread(send.message, Receiver::kPeer);
      if (message.has_welcome()) welcome_ = std::move(message);
    }
    if (effects_.commit != 0) Step({core::Durable{effects_.commit}});
  }

  Instant now_{MonoTime(std::chrono::hours(1)), WallTime(std::chrono::hours(500'000))};
  core::Broker broker_;
  core::Effects effects_;
  wire::Envelope welcome_;  // the last one
  Session producer_;
  Session worker_;
  int runs_ = 0;
};

void Fuzz(std::string_view input) {
  static std::unique_ptr<Scene> scene;
  static History history;
  if (!scene || scene->worn()) {
    scene = std::make_unique<Scene>();
    history.Clear();
  }
  History::Split(input, [](std::string_view part) {
    history.Add(part);
    if (scene->Run(ByteSource(part))) history.Keep();
  });
}

const RegisterTarget kTarget("wire", Fuzz);

}  // namespace
}  // namespace whippletree::fuzz
