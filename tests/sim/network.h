// The network between the broker and its peers: ZeroMQ's sockets as far as the protocol can tell.
//
// A peer's socket connects by itself, queues what it is given meanwhile, and after a reset comes
// back as a new connection (at the door: under a new routing id). Two kinds of network: one like
// TCP, where a connection keeps its order and loses only what is in flight when it breaks; and a
// hostile one that loses, repeats and reorders.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "broker/core/effects.h"
#include "common/prng.h"
#include "tests/sim/event_loop.h"
#include "tests/sim/options.h"
#include "tests/sim/situations.h"

namespace whippletree::sim {

class Network {
 public:
  // A frame that came to a peer, or to the broker (`route` is empty but at the door).
  using PeerReceive = std::function<void(std::string frame)>;
  using BrokerReceive =
      std::function<void(core::Channel channel, const std::string& route, std::string frame)>;

  Network(EventLoop* loop, const NetworkOptions& options, uint64_t seed, Situations* situations);

  // ---- Peers. `peer` is what Isolate knows it by.
  uint64_t Open(uint64_t peer, core::Channel channel, PeerReceive receive);
  void Send(uint64_t socket, std::string frame);
  // What was sent still arrives; nothing comes back.
  void Close(uint64_t socket);
  // Its process is gone.
  void Kill(uint64_t socket);

  // ---- The broker.
  enum class SendResult { kSent, kAgain, kUnreachable };
  SendResult SendTo(const std::string& route, std::string frame);
  void BrokerUp(BrokerReceive receive);
  void BrokerDown();

  // ---- Faults.
  // Breaks a random connection of this kind, or none.
  void ResetOne(bool door);
  void Isolate(uint64_t peer, bool to_broker, bool from_broker, Duration duration);
  // From now on nothing goes wrong.
  void Heal();

  uint64_t trace_hash() const { return trace_hash_; }

 private:
  static constexpr size_t kHighWaterMark = 1000;

  // One life of a connection.
  struct Connection {
    std::string route;
    uint64_t peer = 0;
    core::Channel channel{};
    bool broken = false;  // what is in flight is lost
    bool peer_open = true;
    bool broker_open = true;  // as far as the broker knows
    MonoTime up_last{};       // arrival of the newest frame, for the order
    MonoTime down_last{};
    PeerReceive receive;
  };
  struct Socket {
    uint64_t peer = 0;
    core::Channel channel{};
    PeerReceive receive;
    uint32_t lives = 0;
    std::shared_ptr<Connection> connection;  // null: connecting
    std::deque<std::string> unsent;
  };
  struct Isolation {
    MonoTime to_broker_until{};
    MonoTime from_broker_until{};
  };

  void Connect(uint64_t socket, Duration delay);
  void Break(uint64_t socket, bool silently);
  void Up(const std::shared_ptr<Connection>& connection, std::string frame);
  void Carry(const std::shared_ptr<Connection>& connection, bool up, std::string frame);
  Duration Delay();
  void Trace(bool up, std::string_view frame);

  EventLoop* const loop_;
  NetworkOptions options_;
  Prng prng_;
  Situations* const situations_;
  BrokerReceive broker_;  // null: down
  uint64_t broker_life_ = 0;
  std::map<uint64_t, Socket> sockets_;
  uint64_t last_socket_ = 0;
  std::map<std::string, std::shared_ptr<Connection>> routes_;
  std::map<uint64_t, Isolation> isolations_;
  uint64_t trace_hash_ = 0xcbf29ce484222325;
};

}  // namespace whippletree::sim
