// By when workers are to answer for jobs: for started ones when their timeout and a grace have
// passed, for those that they were asked to hand back after a grace.
//
// Counts the time in which the broker was awake: a pause of it extends everything alike.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <vector>

#include "broker/core/limits.h"
#include "common/check.h"
#include "common/interval_set.h"
#include "common/time.h"

namespace whippletree::core {

class DueAnswers {
 public:
  enum class Kind { kStarted, kAskedBack };
  struct Due {
    uint64_t token;
    IntervalSet::Interval part;  // indexes of jobs in the lease
    Kind kind;
  };

  // The broker was stopped for so long.
  void OnPause(Duration gap) { paused_ += gap; }

  // An answer for these jobs is due at `at`, if they are in the lease then.
  void Expect(const Due& due, MonoTime at) {
    const Key key{due.token, due.kind, at - paused_, due.part.begin};
    uint64_t& end = by_lease_[key];
    end = std::max(end, due.part.end);
    by_time_.insert({std::get<2>(key), key});
  }
  // The lease ended. What is expected of many parts of it goes some at a time, see GoOn.
  void Forget(uint64_t token) {
    ended_.push_back(token);
    GoOn(kForgottenAtOnce);
  }
  // Forgets so many answers of leases that have ended.
  void GoOn(uint64_t most) {
    while (!ended_.empty() && most > 0) {
      const uint64_t token = ended_.back();
      const auto first = by_lease_.lower_bound({token, Kind::kStarted, MonoTime::min(), 0});
      auto last = first;
      for (; most > 0 && last != by_lease_.end() && std::get<0>(last->first) == token; ++last) {
        by_time_.erase({std::get<2>(last->first), last->first});
        --most;
      }
      if (last == by_lease_.end() || std::get<0>(last->first) != token) ended_.pop_back();
      by_lease_.erase(first, last);
    }
  }
  // None of its jobs counts as started any more.
  void ForgetStarted(uint64_t token) {
    Erase({token, Kind::kStarted, MonoTime::min(), 0},
          {token, Kind::kAskedBack, MonoTime::min(), 0});
  }

  // What this takes of the memory, about.
  uint64_t bytes() const { return by_lease_.size() * kDueAnswerBytes; }
  // When there is something to be done; kNever: nothing is expected.
  MonoTime next() const {
    if (!ended_.empty()) return MonoTime{};
    return by_time_.empty() ? kNever : by_time_.begin()->first + paused_;
  }
  // What has been due for longest, which is not expected any more; nothing: none is.
  std::optional<Due> Take(MonoTime now) {
    if (by_time_.empty() || by_time_.begin()->first + paused_ > now) return std::nullopt;
    const auto entry = by_lease_.find(by_time_.begin()->second);
    const auto [token, kind, at, begin] = entry->first;
    const Due due{token, {begin, entry->second}, kind};
    by_time_.erase(by_time_.begin());
    by_lease_.erase(entry);
    return due;
  }

  // Whether an answer is expected for each of these.
  bool Covers(const Due& due) const {
    IntervalSet covered;
    for (auto it = by_lease_.lower_bound({due.token, due.kind, MonoTime::min(), 0});
         it != by_lease_.end() && std::get<0>(it->first) == due.token &&
         std::get<1>(it->first) == due.kind;
         ++it) {
      covered.Add(std::get<3>(it->first), it->second);
    }
    return covered.ContainsAll(due.part.begin, due.part.end);
  }
  // Both indexes have the same, of leases for which is_lease(token), or of such as have ended;
  // CHECKs. For tests.
  template <typename IsLease>
  void Check(IsLease&& is_lease) const {
    WT_CHECK(by_time_.size() == by_lease_.size());
    for (const auto& [key, end] : by_lease_) {
      WT_CHECK(by_time_.contains({std::get<2>(key), key}));
      const uint64_t token = std::get<0>(key);
      WT_CHECK(std::get<3>(key) < end);
      WT_CHECK(is_lease(token) || std::find(ended_.begin(), ended_.end(), token) != ended_.end());
    }
  }

 private:
  static constexpr uint64_t kForgottenAtOnce = 64;
  using Key = std::tuple<uint64_t, Kind, MonoTime, uint64_t>;  // token, kind, when, first index

  void Erase(const Key& begin, const Key& end) {
    if (by_lease_.empty()) return;  // as of most queues
    const auto first = by_lease_.lower_bound(begin);
    const auto last = by_lease_.lower_bound(end);
    for (auto it = first; it != last; ++it) by_time_.erase({std::get<2>(it->first), it->first});
    by_lease_.erase(first, last);
  }

  Duration paused_{0};
  std::map<Key, uint64_t> by_lease_;  // → the end of the jobs
  std::set<std::pair<MonoTime, Key>> by_time_;
  std::vector<uint64_t> ended_;  // leases of which something is still to be forgotten
};

}  // namespace whippletree::core
