// Keeps a log readable when one thing goes wrong a thousand times: per (event, queue) at most
// kLinesPerSecond lines a second, then one line that says how many were left out. No clock.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/log_event.h"
#include "common/time.h"

namespace whippletree {

class LogThrottle {
 public:
  static constexpr uint32_t kLinesPerSecond = 5;

  // Whether to write `event` now.
  bool Admit(const LogEvent& event, MonoTime now) {
    Window& window = windows_[KeyOf(event)];
    if (now >= window.end) {
      if (window.suppressed > 0) Close(KeyOf(event), window);
      window.lines = 0;
      window.end = now + seconds(1);
    }
    if (window.lines < kLinesPerSecond) {
      ++window.lines;
      return true;
    }
    ++window.suppressed;
    return false;
  }

  // Lines that say what was left out in the seconds that are over, to be written.
  std::vector<LogEvent> TakeSummaries(MonoTime now) {
    for (auto it = windows_.begin(); it != windows_.end();) {
      if (now < it->second.end) {
        ++it;
        continue;
      }
      if (it->second.suppressed > 0) Close(it->first, it->second);
      it = windows_.erase(it);
    }
    return std::exchange(summaries_, {});
  }

 private:
  using Key = std::pair<std::string_view, std::string>;
  struct Window {
    MonoTime end{};
    uint32_t lines = 0;
    uint64_t suppressed = 0;
  };

  static Key KeyOf(const LogEvent& event) {
    for (const auto& [name, value] : event.fields) {
      if (name == "queue") {
        if (const auto* queue = std::get_if<std::string>(&value)) return {event.event, *queue};
      }
    }
    return {event.event, ""};
  }

  void Close(const Key& key, Window& window) {
    LogEvent event{LogLevel::kInfo, "suppressed", {{"of", std::string(key.first)}}};
    if (!key.second.empty()) event.fields.push_back({"queue", key.second});
    event.fields.push_back({"suppressed", window.suppressed});
    summaries_.push_back(std::move(event));
    window.suppressed = 0;
  }

  std::map<Key, Window> windows_;
  std::vector<LogEvent> summaries_;
};

}  // namespace whippletree
