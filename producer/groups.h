// The groups of a producer: who is a member, closing, and the end, which is told once. Part of
// ProducerSession: no I/O, no clock. Not thread-safe.
//
// A group is closed at the broker when the broker has accepted (or rejected) every member. When
// the broker restarts it has forgotten the members that it had accepted; those that it had not are
// sent again, and the group goes on with these alone, to be told as lost in the end.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/interval_set.h"
#include "common/time.h"
#include "wire.pb.h"

namespace whippletree {

class ProducerGroups {
 public:
  // `first` is the number of the first group. REQUIRES: first > 0.
  explicit ProducerGroups(uint64_t first) : next_(first) {}

  // Returns the new group's number.
  uint64_t Open();
  // FAILED_PRECONDITION if no job can join it: it is closed, or was never opened.
  absl::Status CheckOpen(uint64_t group) const;
  // No more jobs join. Errors as CheckOpen().
  absl::Status Close(uint64_t group);

  // ---- What becomes of the jobs of a queue's stream.
  // Jobs [begin, end) joined. REQUIRES: CheckOpen(group) is OK; begin is the stream's next number.
  void OnSubmitted(uint64_t group, const std::string& queue, uint64_t begin, uint64_t end);
  // The broker has accepted or rejected `count` of them.
  void OnAccepted(uint64_t group, const std::string& queue, uint64_t count);
  // Jobs [begin, end) of any or no group have their outcome. To be called once for each job.
  void OnSettled(const std::string& queue, uint64_t begin, uint64_t end);
  // The stream is gone: no more of its jobs will be accepted, and the broker has forgotten those
  // that were.
  void OnGone(const std::string& queue);
  // The broker restarted and does not know the jobs of the stream that it had accepted.
  void OnLost(const std::string& queue);

  struct Part {
    IntervalSet::Interval jobs;
    uint64_t group;  // 0: none
  };
  // [begin, end) cut where the group changes, in order. Jobs with an outcome count as of none.
  std::vector<Part> Split(const std::string& queue, uint64_t begin, uint64_t end) const;

  // ---- The broker.
  void OnWelcome();
  void OnUpdates(const wire::GroupUpdates& updates);
  // Names the groups of which the broker knows.
  void AddTo(wire::Hello* hello) const;
  // Sends what is due; groups that have ended are added to `ended`, each once. A group is `lost`
  // there if some of its members are; the counts are those of the others then.
  void Poll(MonoTime now, uint64_t session, std::vector<wire::Envelope>* door,
            std::vector<wire::Envelope>* submit, std::vector<wire::GroupEnd>* ended);
  MonoTime NextDeadline() const;
  // Somebody waits for the end of a group.
  bool waits() const { return !closing_.empty(); }

 private:
  static constexpr Duration kRepeat = seconds(1);

  struct Members {
    uint64_t jobs = 0;
    uint64_t accepted = 0;  // of these
  };
  struct Group {
    std::map<std::string, Members> members;  // by queue
    uint64_t open = 0;                       // without an outcome
    uint64_t refused = 0;                    // never accepted, and not in `members` any more
    bool closing = false;                    // by the application
    bool closed = false;                     // the broker says so
    bool lost = false;
    bool ended = false;  // the broker says so
    wire::GroupEnd end;
    MonoTime close_at{};

    uint64_t jobs() const;
    bool all_accepted() const;
    bool known() const;  // to the broker
    bool done() const { return closing && open == 0 && (ended || jobs() == 0); }
    bool to_be_closed() const { return closing && !closed && jobs() > 0 && all_accepted(); }
    void Forget(Members* some);
  };
  // Consecutive members of one group in a stream.
  struct Span {
    uint64_t end;
    uint64_t open;  // without an outcome
    uint64_t group;
  };
  using Spans = std::map<uint64_t, Span>;  // by first number

  static Spans::const_iterator FirstEndingAfter(const Spans& spans, uint64_t number);
  void OnEnded(const wire::GroupEnd& end);

  uint64_t next_;
  std::map<uint64_t, Group> groups_;
  std::set<uint64_t> closing_;          // of groups_
  std::map<std::string, Spans> spans_;  // by queue
  std::vector<uint64_t> acks_;
};

}  // namespace whippletree
