// Hellos: whoever says one is refused or admitted, and welcomed. The streams that a producer claims
// are opened over as many steps as it takes, and nothing else is applied before.
//
// A part of the broker, with its state; only the broker calls it, during a step.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "broker/core/peer.h"
#include "wire.pb.h"

namespace whippletree::core {

class Broker;

// Who was admitted, and what it is to be told.
struct Guest {
  Peer* peer = nullptr;
  bool is_new = false;  // nobody by its name is known
  bool same_start = false;
  Claimant claimant = Claimant::kNew;
  wire::Envelope message;
  int claims = 0;  // of the hello, that are answered
};

class Hellos {
 public:
  explicit Hellos(Broker* broker) : b_(*broker) {}

  // False: there is more, and it is to be called again with the same in the next step, as a rest.
  bool On(const std::string& route, const wire::Hello& hello, bool is_rest);

 private:
  // OK, or what is wrong with it by itself.
  absl::Status Error(const wire::Hello& hello) const;
  // DATA_LOSS: the peer was told of commits that the store does not have. Says which.
  // PERMISSION_DENIED: it cannot prove that it was told.
  absl::Status CommitsError(const wire::Hello& hello) const;
  // False: it was refused, and told so.
  bool Admit(const std::string& route, const wire::Hello& hello);
  bool MayTakeOver(Peer& peer, const std::string& route, const wire::Hello& hello);
  bool HasRoom(const std::string& route);
  void Refuse(const std::string& route, const absl::Status& status);
  void Restart(ProducerState& producer);
  // False: there are more.
  bool ClaimStreams(const wire::Hello& hello);
  void WelcomeProducer();
  void WelcomeWorker(const wire::Hello& hello);
  void ServeQueues(Peer& peer, const wire::Hello& hello, wire::Welcome* welcome);
  void GoOnWithLeases(Peer& peer, const wire::Hello& hello, wire::Welcome* welcome);
  void BeginSession(const std::string& route, const wire::Hello& hello);
  void LogJoined() const;
  void SendWelcome(const wire::Hello& hello);

  Broker& b_;
  std::optional<Guest> guest_;
};

}  // namespace whippletree::core
