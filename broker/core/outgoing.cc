#include "broker/core/outgoing.h"

#include <utility>

#include "broker/core/broker.h"
#include "broker/core/limits.h"
#include "common/status.h"

namespace whippletree::core {

void Outgoing::CountIn(Send* send) {
  send->bytes = send->message.ByteSizeLong() + kSendOverheadBytes;
  waiting_bytes_ += send->bytes;
  broker_.used_bytes_ += send->bytes;
}

void Outgoing::CountOut(Send* send) {
  waiting_bytes_ -= send->bytes;
  broker_.used_bytes_ -= send->bytes;
  send->bytes = 0;
}

void Outgoing::Pass(uint64_t commit, Send send) {
  if (commit > gate_.durable()) CountIn(&send);
  gate_.Pass(commit, std::move(send), [this](Send now) { Release(std::move(now)); });
}

void Outgoing::OnDurable(uint64_t commit) {
  gate_.OnDurable(commit, [this](Send send) {
    CountOut(&send);
    Release(std::move(send));
  });
}

void Outgoing::Release(Send send) {
  if (send.session == 0) {
    broker_.effects_->sends.push_back(std::move(send));
    return;
  }
  auto it = broker_.peer_by_session_.find(send.session);
  if (it == broker_.peer_by_session_.end()) return;  // it ended while the commit was under way
  Peer& peer = *broker_.peers_.at(it->second);
  if (peer.outbox.empty()) {
    Emit(std::move(send));
  } else {
    PutBack(peer, std::move(send));
  }
}

void Outgoing::Emit(Send send) {
  for (const wire::Delivery& delivery : send.message.deliveries().deliveries()) {
    if (Lease* lease = broker_.leases_.Find(delivery.token())) {
      broker_.overdue_.OnDeliverySent(*lease);
    }
  }
  if (send.message.has_revoke()) broker_.overdue_.OnAskedBack(send.message.revoke().ranges());
  if (send.message.has_cancel_jobs()) {
    broker_.overdue_.OnAskedBack(send.message.cancel_jobs().ranges());
  }
  broker_.effects_->sends.push_back(std::move(send));
}

void Outgoing::PutBack(Peer& peer, Send send) {
  CountIn(&send);
  const bool has_room =
      peer.outbox.size() < kOutboxFramesMax && peer.outbox_bytes + send.bytes <= kOutboxBytesMax;
  if (!peer.outbox.empty() && !has_room) {
    broker_.Count("outbox_overflows");
    CountOut(&send);
    return;
  }
  peer.outbox_bytes += send.bytes;
  peer.outbox.push_back(std::move(send));
}

void Outgoing::Flush(Peer& peer) {
  peer.outbox_bytes = 0;
  for (Send& send : std::exchange(peer.outbox, {})) {
    CountOut(&send);
    Emit(std::move(send));
  }
}

void Outgoing::Drop(Peer& peer) {
  peer.outbox_bytes = 0;
  for (Send& send : std::exchange(peer.outbox, {})) CountOut(&send);
}

void Outgoing::CountUnread(uint64_t before) { broker_.used_bytes_ += unread_.bytes() - before; }

bool Outgoing::MayAnswer(const std::string& route, const wire::AdminRequest& request) {
  const bool is_word_alone =
      request.received() != 0 && request.request_case() == wire::AdminRequest::REQUEST_NOT_SET;
  const uint64_t before = unread_.bytes();
  unread_.OnRead(route, request.received());
  using Unread = UnreadReplies::Verdict;
  const Unread unread = is_word_alone ? Unread::kDrop : unread_.Check(route, broker_.now_.mono);
  CountUnread(before);
  if (is_word_alone) return false;
  if (unread == Unread::kAnswer) return true;
  broker_.Count("unanswered_requests");
  if (unread == Unread::kDrop) return false;
  wire::AdminReply reply;
  *reply.mutable_error() =
      WireStatus(absl::StatusCode::kResourceExhausted,
                 unread == Unread::kUnread
                     ? "read the reply before this one first, and say its number in `received`"
                     : "too many replies of the broker wait to be read; try again later");
  Answer(route, request, std::move(reply), 0);
  return false;
}

void Outgoing::Answer(const std::string& route, const wire::AdminRequest& request,
                      wire::AdminReply reply, uint64_t commit) {
  wire::Envelope message;
  reply.set_id(request.id());
  *message.mutable_admin_reply() = std::move(reply);
  if (const uint64_t bytes = message.ByteSizeLong(); bytes > kSmallReplyBytes) {
    const uint64_t number =
        broker_.secrets_.OfReply(broker_.config_.first_number() + ++last_reply_);
    message.mutable_admin_reply()->set_number(number);
    const uint64_t before = unread_.bytes();
    unread_.Add(route, number, bytes, broker_.now_.mono);
    CountUnread(before);
  }
  Pass(commit, {route, 0, std::move(message)});
}

}  // namespace whippletree::core
