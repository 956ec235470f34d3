#include "tests/sim/network.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "tests/sim/job_spec.h"

namespace whippletree::sim {

using core::Channel;

Network::Network(EventLoop* loop, const NetworkOptions& options, uint64_t seed,
                 Situations* situations)
    : loop_(loop), options_(options), prng_(seed), situations_(situations) {}

Duration Network::Delay() {
  return options_.delay_base + DrawDuration(&prng_, options_.delay_mean);
}

uint64_t Network::Open(uint64_t peer, Channel channel, PeerReceive receive) {
  const uint64_t id = ++last_socket_;
  Socket& socket = sockets_[id];
  socket.peer = peer;
  socket.channel = channel;
  socket.receive = std::move(receive);
  Connect(id, Delay());
  return id;
}

void Network::Connect(uint64_t id, Duration delay) {
  loop_->After(delay, [this, id] {
    auto it = sockets_.find(id);
    if (it == sockets_.end() || it->second.connection) return;
    Socket& socket = it->second;
    const Isolation& isolation = isolations_[socket.peer];
    if (!broker_ || loop_->now() < isolation.to_broker_until ||
        loop_->now() < isolation.from_broker_until) {
      Connect(id, milliseconds(100) + DrawDuration(&prng_, milliseconds(100)));
      return;
    }
    auto connection = std::make_shared<Connection>();
    connection->peer = socket.peer;
    connection->channel = socket.channel;
    connection->receive = socket.receive;
    if (socket.channel == Channel::kDoor) {
      connection->route = "r" + std::to_string(id) + "." + std::to_string(++socket.lives);
      routes_[connection->route] = connection;
    }
    socket.connection = connection;
    for (std::string& frame : std::exchange(socket.unsent, {})) Up(connection, std::move(frame));
  });
}

void Network::Send(uint64_t id, std::string frame) {
  Socket& socket = sockets_.at(id);
  if (socket.connection) {
    Up(socket.connection, std::move(frame));
  } else if (socket.unsent.size() < kHighWaterMark) {
    socket.unsent.push_back(std::move(frame));
  }
}

void Network::Close(uint64_t id) {
  auto it = sockets_.find(id);
  if (it == sockets_.end()) return;
  if (auto connection = it->second.connection) {
    connection->peer_open = false;
    loop_->After(Delay(), [connection] { connection->broker_open = false; });
  }
  sockets_.erase(it);
}

void Network::Kill(uint64_t id) {
  auto it = sockets_.find(id);
  if (it == sockets_.end()) return;
  if (it->second.connection) Break(id, prng_.Chance(300));
  sockets_.erase(it);
}

void Network::Break(uint64_t id, bool silently) {
  Socket& socket = sockets_.at(id);
  const auto connection = std::exchange(socket.connection, nullptr);
  connection->broken = true;
  connection->peer_open = false;
  // Without a word the broker finds out by its heartbeats only.
  loop_->After(silently ? seconds(3) : Delay(), [connection] { connection->broker_open = false; });
}

void Network::Up(const std::shared_ptr<Connection>& connection, std::string frame) {
  Carry(connection, true, std::move(frame));
}

Network::SendResult Network::SendTo(const std::string& route, std::string frame) {
  auto it = routes_.find(route);
  if (it == routes_.end()) return SendResult::kUnreachable;
  const std::shared_ptr<Connection> connection = it->second;
  if (!connection->broker_open) {
    routes_.erase(it);
    return SendResult::kUnreachable;
  }
  if (prng_.Chance(options_.socket_full)) {
    situations_->Count("socket_full");
    return SendResult::kAgain;
  }
  Carry(connection, false, std::move(frame));
  return SendResult::kSent;
}

void Network::Carry(const std::shared_ptr<Connection>& connection, bool up, std::string frame) {
  const Isolation& isolation = isolations_[connection->peer];
  const MonoTime until = up ? isolation.to_broker_until : isolation.from_broker_until;
  const bool isolated = loop_->now() < until;
  int copies = 1;
  if (options_.hostile) {
    if (isolated || prng_.Chance(options_.loss)) copies = 0;
    while (copies > 0 && copies < 4 && prng_.Chance(options_.repeat)) ++copies;
  }
  MonoTime& last = up ? connection->up_last : connection->down_last;
  for (; copies > 0; --copies) {
    std::string bytes = copies > 1 ? frame : std::move(frame);
    MonoTime at = std::max(loop_->now(), until) + Delay();
    if (!options_.hostile) at = last = std::max(at, last + Duration(1));
    loop_->At(at, [this, connection, up, bytes = std::move(bytes), life = broker_life_]() mutable {
      if (connection->broken || life != broker_life_) return;
      if (up) {
        if (!broker_) return;
        Trace(true, bytes);
        broker_(connection->channel, connection->route, std::move(bytes));
      } else if (connection->peer_open) {
        Trace(false, bytes);
        connection->receive(std::move(bytes));
      }
    });
  }
}

void Network::Trace(bool up, std::string_view frame) {
  const int64_t at[] = {loop_->now().time_since_epoch().count(), up ? 1 : 0};
  trace_hash_ = HashBytes({reinterpret_cast<const char*>(at), sizeof(at)}, trace_hash_);
  trace_hash_ = HashBytes(frame, trace_hash_);
}

void Network::BrokerUp(BrokerReceive receive) {
  ++broker_life_;
  broker_ = std::move(receive);
}

void Network::BrokerDown() {
  broker_ = nullptr;
  routes_.clear();
  for (auto& [id, socket] : sockets_) {
    if (!socket.connection) continue;
    socket.connection->broken = true;
    socket.connection = nullptr;
    Connect(id, milliseconds(100) + DrawDuration(&prng_, milliseconds(100)));
  }
}

void Network::ResetOne(bool door) {
  std::vector<uint64_t> candidates;
  for (const auto& [id, socket] : sockets_) {
    if (socket.connection && (socket.channel == Channel::kDoor) == door) candidates.push_back(id);
  }
  if (candidates.empty()) return;
  const uint64_t id = candidates[prng_.Below(candidates.size())];
  situations_->Count("connection_reset");
  Break(id, prng_.Chance(200));
  Connect(id, Delay() + milliseconds(prng_.Chance(500) ? 0 : 100));
}

void Network::Isolate(uint64_t peer, bool to_broker, bool from_broker, Duration duration) {
  situations_->Count("isolation");
  const MonoTime until = loop_->now() + duration;
  Isolation& isolation = isolations_[peer];
  if (to_broker) isolation.to_broker_until = until;
  if (from_broker) isolation.from_broker_until = until;
  // A long silence makes ZeroMQ's heartbeats give the connection up.
  if (duration < seconds(5)) return;
  loop_->After(seconds(3), [this, peer] {
    for (auto& [id, socket] : sockets_) {
      if (socket.peer != peer || !socket.connection) continue;
      Break(id, false);
      Connect(id, milliseconds(100));
    }
  });
}

void Network::Heal() {
  options_.loss = options_.repeat = options_.socket_full = 0;
  isolations_.clear();
}

}  // namespace whippletree::sim
