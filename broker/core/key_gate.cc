#include "broker/core/key_gate.h"

#include <algorithm>

#include "broker/core/planted.h"
#include "common/check.h"

namespace whippletree::core {

void KeyGate::SetPolicy(const KeyPolicy& policy, MonoTime start, MonoTime now) {
  const RatePolicy before = policy_.rate;
  policy_ = policy;
  start_ = start;
  if (policy.rate.count == 0) {
    std::erase_if(keys_, [](const auto& entry) {
      return entry.second.inside == 0 && entry.second.held_back == 0;
    });
    return;
  }
  if (policy.rate == before) return;
  for (auto& [name, key] : keys_) {
    if (before.count == 0) {
      key.bucket = TokenBucket(policy.rate, start);
    } else {
      key.bucket.Reconfigure(policy.rate, now);
    }
  }
}

KeyGate::Key& KeyGate::At(const std::string& key) {
  const auto [it, is_new] = keys_.try_emplace(key);
  if (is_new && policy_.rate.count > 0) it->second.bucket = TokenBucket(policy_.rate, start_);
  return it->second;
}

uint64_t KeyGate::Allowed(const std::string& key, MonoTime now) {
  if (key.empty() || !limits()) return kUnlimited;
  uint64_t allowed = kUnlimited;
  const auto it = keys_.find(key);
  const uint64_t inside = it == keys_.end() ? 0 : it->second.inside;
  if (policy_.ordered && !Planted("ignore_key_order")) {
    allowed = inside + (it == keys_.end() ? 0 : it->second.held_back) > 0 ? 0 : 1;
  }
  if (policy_.concurrency > 0 && !Planted("ignore_key_concurrency")) {
    allowed = std::min<uint64_t>(allowed,
                                 policy_.concurrency > inside ? policy_.concurrency - inside : 0);
  }
  if (policy_.rate.count > 0 && !Planted("ignore_key_rate")) {
    const TokenBucket idle(policy_.rate, start_);
    allowed = std::min(allowed, (it == keys_.end() ? idle : it->second.bucket).Available(now));
  }
  return allowed;
}

MonoTime KeyGate::TokensAt(const std::string& key, uint64_t n, MonoTime now) {
  if (key.empty() || policy_.rate.count == 0) return kNever;
  const TokenBucket& bucket = At(key).bucket;
  const MonoTime at = bucket.AvailableAt(std::min(n, bucket.burst()));
  return at > now ? at : kNever;
}

void KeyGate::Enter(const std::string& key, uint64_t n) {
  if (!key.empty()) At(key).inside += n;
}

void KeyGate::Leave(const std::string& key, uint64_t n) {
  if (key.empty() || n == 0) return;
  Key& state = At(key);
  WT_CHECK(state.inside >= n);
  state.inside -= n;
  EraseIfIdle(key);
}

void KeyGate::UseTokens(const std::string& key, uint64_t n, MonoTime now) {
  if (key.empty() || policy_.rate.count == 0) return;
  if (keys_.size() >= prune_at_) Prune(now);
  Key& state = At(key);
  state.bucket.Take(std::min(n, state.bucket.burst()), now);
}

void KeyGate::HoldBack(const std::string& key, uint64_t n) {
  if (!key.empty()) At(key).held_back += n;
}

void KeyGate::LetGo(const std::string& key, uint64_t n) {
  if (key.empty() || n == 0) return;
  Key& state = At(key);
  WT_CHECK(state.held_back >= n);
  state.held_back -= n;
  EraseIfIdle(key);
}

// Where there is a rate, Prune looks at the bucket.
void KeyGate::EraseIfIdle(const std::string& key) {
  if (policy_.rate.count > 0) return;
  const auto it = keys_.find(key);
  if (it->second.inside == 0 && it->second.held_back == 0) keys_.erase(it);
}

// Each look at all keys is paid for by as many that came.
void KeyGate::Prune(MonoTime now) {
  std::erase_if(keys_, [&](const auto& entry) {
    const Key& key = entry.second;
    return key.inside == 0 && key.held_back == 0 && key.bucket.Available(now) == key.bucket.burst();
  });
  prune_at_ = 2 * keys_.size() + 1000;
}

}  // namespace whippletree::core
