// Raw ZeroMQ: frames go producer → broker → worker → broker → producer, the least that a queue with
// a broker can do. Nobody looks into the frames beyond one payload at their beginning; nothing is
// kept, leased or acknowledged. --role produce | work | forward; --frame is the size of a frame.
#include <zmq.h>

#include <cstring>
#include <string>

#include "tests/bench/drivers/round.h"

namespace whippletree::bench {
namespace {

// From the broker's first port on.
enum Offset { kSubmit, kDeliver, kComplete, kReturn };

class Socket {
 public:
  Socket(void* context, int type) : socket_(zmq_socket(context, type)) {
    const int messages_max = 100'000;
    const int linger = 0;
    zmq_setsockopt(socket_, ZMQ_SNDHWM, &messages_max, sizeof messages_max);
    zmq_setsockopt(socket_, ZMQ_RCVHWM, &messages_max, sizeof messages_max);
    zmq_setsockopt(socket_, ZMQ_LINGER, &linger, sizeof linger);
  }
  ~Socket() { zmq_close(socket_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  void Bind(uint64_t port) { Check(zmq_bind(socket_, Address(port).c_str()), "bind"); }
  void Connect(uint64_t port) { Check(zmq_connect(socket_, Address(port).c_str()), "connect"); }
  void* get() const { return socket_; }

  static void Check(int result, const char* what) {
    if (result < 0) Fail(std::string(what) + ": " + zmq_strerror(zmq_errno()));
  }

 private:
  static std::string Address(uint64_t port) { return "tcp://127.0.0.1:" + std::to_string(port); }

  void* socket_;
};

bool Readable(void* socket, int timeout_ms) {
  zmq_pollitem_t item{socket, 0, ZMQ_POLLIN, 0};
  return zmq_poll(&item, 1, timeout_ms) > 0;
}

// Moves what waits, at most so many at a time, so that neither direction starves.
void Forward(void* from, void* to) {
  for (int i = 0; i < 100; ++i) {
    zmq_msg_t message;
    zmq_msg_init(&message);
    if (zmq_msg_recv(&message, from, ZMQ_DONTWAIT) < 0) {
      zmq_msg_close(&message);
      return;
    }
    Socket::Check(zmq_msg_send(&message, to, 0), "send");
  }
}

void RunBroker(void* context, uint64_t port) {
  Socket submit(context, ZMQ_PULL), deliver(context, ZMQ_PUSH), complete(context, ZMQ_PULL),
      result(context, ZMQ_PUSH);
  submit.Bind(port + kSubmit);
  deliver.Bind(port + kDeliver);
  complete.Bind(port + kComplete);
  result.Bind(port + kReturn);
  Ready();
  while (true) {
    zmq_pollitem_t items[] = {{submit.get(), 0, ZMQ_POLLIN, 0}, {complete.get(), 0, ZMQ_POLLIN, 0}};
    zmq_poll(items, 2, -1);
    Forward(complete.get(), result.get());
    Forward(submit.get(), deliver.get());
  }
}

void RunWorker(void* context, uint64_t port) {
  Socket deliver(context, ZMQ_PULL), complete(context, ZMQ_PUSH);
  deliver.Connect(port + kDeliver);
  complete.Connect(port + kComplete);
  Ready();
  while (true) {
    zmq_msg_t message;
    zmq_msg_init(&message);
    Socket::Check(zmq_msg_recv(&message, deliver.get(), 0), "receive");
    char* data = static_cast<char*>(zmq_msg_data(&message));
    WriteNumber(Scramble(ReadNumber(data)), data);
    Socket::Check(zmq_msg_send(&message, complete.get(), 0), "send");
  }
}

class Hops : public System {
 public:
  Hops(void* context, uint64_t port, size_t frame_bytes, size_t payload_bytes)
      : frame_bytes_(frame_bytes),
        payload_bytes_(payload_bytes),
        submit_(context, ZMQ_PUSH),
        result_(context, ZMQ_PULL) {
    submit_.Connect(port + kSubmit);
    result_.Connect(port + kReturn);
  }

  void Submit(uint64_t, std::span<const std::string_view> payloads) override {
    for (const std::string_view payload : payloads) {
      zmq_msg_t message;
      zmq_msg_init_size(&message, frame_bytes_);
      std::memcpy(zmq_msg_data(&message), payload.data(), payload.size());
      Socket::Check(zmq_msg_send(&message, submit_.get(), 0), "send");
    }
  }

  void Receive(Ledger* ledger) override {
    if (!Readable(result_.get(), 100)) return;
    zmq_msg_t message;
    zmq_msg_init(&message);
    while (zmq_msg_recv(&message, result_.get(), ZMQ_DONTWAIT) >= 0) {
      if (zmq_msg_size(&message) != frame_bytes_) Fail("a frame of another size came back");
      ledger->OnResult({static_cast<const char*>(zmq_msg_data(&message)), payload_bytes_});
    }
    zmq_msg_close(&message);
    ledger->Publish();
  }

 private:
  const size_t frame_bytes_;
  const size_t payload_bytes_;
  Socket submit_;
  Socket result_;
};

int Main(int argc, char** argv) {
  Flags flags(argc, argv);
  const std::string role = flags.Text("role", "produce");
  const uint64_t port = flags.Number("port", 0);
  const RoundOptions options = RoundOptions::From(&flags);
  const uint64_t frame_bytes = flags.Number("frame", options.payload_bytes);
  flags.Done();
  if (frame_bytes < options.payload_bytes) Fail("--frame is smaller than the payload");
  void* context = zmq_ctx_new();
  if (role == "forward") RunBroker(context, port);
  if (role == "work") RunWorker(context, port);
  Ledger ledger(options.payload_bytes, options.window);
  Hops system(context, port, frame_bytes, options.payload_bytes);
  RunRound(options, &system, &ledger);
  std::_Exit(0);
}

}  // namespace
}  // namespace whippletree::bench

int main(int argc, char** argv) { return whippletree::bench::Main(argc, argv); }
