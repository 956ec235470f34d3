// What the keys of one queue's jobs let pass: one at a time, so many at a time, so many a second.
//
// Jobs without a key are free. Only keys that matter now have an entry: those of leased or backing
// off jobs, and those whose rate was used lately.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "broker/core/config.h"
#include "broker/core/token_bucket.h"
#include "common/time.h"

namespace whippletree::core {

class KeyGate {
 public:
  static constexpr uint64_t kUnlimited = UINT64_MAX;

  // From now on. Buckets of keys that are new are as if idle since `start`.
  void SetPolicy(const KeyPolicy& policy, MonoTime start, MonoTime now);
  bool limits() const { return policy_.limits(); }
  bool ordered() const { return policy_.ordered; }

  // How many jobs of the key may start now.
  uint64_t Allowed(const std::string& key, MonoTime now);
  // When a token for `n` is there, if it is the rate that keeps them; else kNever.
  MonoTime TokensAt(const std::string& key, uint64_t n, MonoTime now);

  // Jobs hold a place of their key from when they start until they end or wait again. Those of a
  // batch that is to be tried again keep it meanwhile.
  void Enter(const std::string& key, uint64_t n);
  void Leave(const std::string& key, uint64_t n);
  // They start, for the first time or again.
  void UseTokens(const std::string& key, uint64_t n, MonoTime now);
  // They back off: their key's order waits for them.
  void HoldBack(const std::string& key, uint64_t n);
  void LetGo(const std::string& key, uint64_t n);

  // For tests.
  uint64_t inside(const std::string& key) const {
    const auto it = keys_.find(key);
    return it == keys_.end() ? 0 : it->second.inside;
  }
  size_t size() const { return keys_.size(); }

 private:
  struct Key {
    uint64_t inside = 0;
    uint64_t held_back = 0;
    TokenBucket bucket;
  };

  Key& At(const std::string& key);
  void EraseIfIdle(const std::string& key);
  void Prune(MonoTime now);

  KeyPolicy policy_;
  MonoTime start_{};
  std::map<std::string, Key> keys_;
  size_t prune_at_ = 1000;
};

}  // namespace whippletree::core
