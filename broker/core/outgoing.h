// Messages on their way out: the commit gate, the outboxes of peers whose sockets take no more, and
// the replies to admins that are not known to be read. What waits here is counted as memory, and is
// bounded. A part of the broker, in a class of its own.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "broker/core/commit_gate.h"
#include "broker/core/effects.h"
#include "broker/core/unread_replies.h"
#include "wire.pb.h"

namespace whippletree::core {

class Broker;
struct Peer;

class Outgoing {
 public:
  explicit Outgoing(Broker* broker) : broker_(*broker) {}

  // ---- The commit gate.
  // Goes out when the commit is durable.
  void Pass(uint64_t commit, Send send);
  void OnDurable(uint64_t commit);
  uint64_t durable() const { return gate_.durable(); }
  bool holds() const { return gate_.held() > 0; }

  // ---- Outboxes.
  // Goes out now, after what is in the outbox of its peer.
  void Release(Send send);
  // The socket did not take it. What the outbox has no room for is dropped: it is sent again.
  void PutBack(Peer& peer, Send send);
  // All of it is tried again.
  void Flush(Peer& peer);
  void Drop(Peer& peer);

  // ---- Admins.
  // Whether the request is to be answered now; else who asks is told why, or not.
  bool MayAnswer(const std::string& route, const wire::AdminRequest& request);
  // REQUIRES: MayAnswer() said so.
  void Answer(const std::string& route, const wire::AdminRequest& request, wire::AdminReply reply,
              uint64_t commit);

  // What waits, as it is counted in the broker's memory.
  uint64_t bytes() const { return waiting_bytes_ + unread_.bytes(); }

 private:
  void Emit(Send send);
  void CountIn(Send* send);
  void CountOut(Send* send);
  // Notes that unread replies were other bytes before.
  void CountUnread(uint64_t before);

  Broker& broker_;
  CommitGate<Send> gate_;
  uint64_t waiting_bytes_ = 0;  // at the gate and in outboxes
  UnreadReplies unread_;
  uint64_t last_reply_ = 0;
};

}  // namespace whippletree::core
