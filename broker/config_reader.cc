// The part of broker/config.h that reads YAML.
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <utility>

#include "broker/config.h"
#include "broker/config_value.h"
#include "broker/core/limits.h"
#include "common/cli.h"
#include "common/codec.h"
#include "common/printable.h"

namespace whippletree {
namespace {

using google::protobuf::Message;

constexpr size_t kErrorsMax = 20;
constexpr size_t kFileBytesMax = 16 << 20;
constexpr size_t kShownBytesMax = 60;  // of a name in an error

// Fills messages from nodes and goes on after an error, to find them all.
class Reader {
 public:
  explicit Reader(std::string name) : name_(std::move(name)) {}

  config::Config Read(const YAML::Node& root) {
    config::Config config;
    Group(root, "", &config);
    return config;
  }

  void Fail(const YAML::Mark& mark, const std::string& path, const std::string& what) {
    ++errors_found_;
    const std::string place =
        mark.is_null() ? "" : absl::StrCat(":", mark.line + 1, ":", mark.column + 1);
    errors_.push_back({{mark.line, mark.column},
                       absl::StrCat(name_, place, ": ", path, path.empty() ? "" : ": ", what)});
    // A file may have very many; only the first are ever told.
    if (errors_.size() > 10 * kErrorsMax) KeepFirst();
  }

  // In the order of the file.
  absl::Status status() {
    if (errors_.empty()) return absl::OkStatus();
    KeepFirst();
    std::string text;
    for (const auto& [place, error] : errors_)
      absl::StrAppend(&text, text.empty() ? "" : "\n", error);
    if (const size_t more = errors_found_ - errors_.size(); more > 0) {
      absl::StrAppend(&text, "\n", name_, ": ", more, " more error", more == 1 ? "" : "s");
    }
    return absl::InvalidArgumentError(text);
  }

  // Settings of a queue that could never have an effect. Only once all else is right: a mistake in
  // what they need is told as such.
  void CheckEffects(const config::Config& config) {
    if (!errors_.empty()) return;
    const config::Queue& defaults = config.defaults();
    for (const auto& [name, queue] : config.queues()) {
      const std::string path = Below("queues", name);
      const auto fail = [&](const std::string& setting, const char* what) {
        const std::string whole = Below(path, setting);
        Fail(marks_[whole], whole, what);
      };
      if (queue.has_burst() && !queue.has_rate() && !defaults.has_rate()) {
        fail("burst", "has no effect without a rate: add one");
      }
      if (queue.keys().has_burst() && !queue.keys().has_rate() && !defaults.keys().has_rate()) {
        fail("keys.burst", "has no effect without a rate: add one");
      }
      if (!queue.batch().has_max_jobs() && !defaults.batch().has_max_jobs()) {
        const char* const useless = "has no effect without max_jobs: add it";
        if (queue.batch().has_max_bytes()) fail("batch.max_bytes", useless);
        if (queue.batch().has_linger()) fail("batch.linger", useless);
      }
      const auto opens = [](const config::Breaker& breaker) {
        return breaker.has_failures() || breaker.has_ratio();
      };
      if (marks_.contains(Below(path, "breaker")) && !opens(queue.breaker()) &&
          !opens(defaults.breaker())) {
        fail("breaker", "never opens: add failures or ratio, as in {failures: 5}");
      }
    }
  }

 private:
  void KeepFirst() {
    std::stable_sort(errors_.begin(), errors_.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    if (errors_.size() > kErrorsMax) errors_.resize(kErrorsMax);
  }

  static std::string Kind(const YAML::Node& node) {
    return node.IsSequence() ? "a list" : node.IsMap() ? "a mapping" : "nothing";
  }

  static std::string Below(const std::string& path, const std::string& name) {
    return path.empty() ? name : absl::StrCat(path, ".", name);
  }

  // Calls entry(key, key node, value node) for each key that is given for the first time.
  template <typename Entry>
  void ForEach(const YAML::Node& node, const std::string& path, const Entry& entry) {
    std::map<std::string, int> lines;
    for (const auto& pair : node) {
      if (!pair.first.IsScalar() || pair.first.Scalar().empty()) {
        Fail(pair.first.Mark(), path, "a name is expected here; put it in quotes");
        continue;
      }
      const std::string& key = pair.first.Scalar();
      const auto [first, fresh] = lines.emplace(key, pair.first.Mark().line + 1);
      if (!fresh) {
        Fail(pair.first.Mark(), Below(path, Printable(key)),
             absl::StrCat("given twice: it is in line ", first->second, " already"));
        continue;
      }
      entry(key, pair.first, pair.second);
    }
  }

  // A mapping of settings. Nothing at all, as when every line of it is a comment, is good too.
  void Group(const YAML::Node& node, const std::string& path, Message* message) {
    if (node.IsNull()) return;
    if (!node.IsMap()) {
      Fail(node.Mark(), path,
           absl::StrCat(node.IsScalar() ? Quoted(node.Scalar(), kShownBytesMax) : Kind(node),
                        " where settings are expected, as in ",
                        message->GetDescriptor()->field(0)->name(), ": …"));
      return;
    }
    ForEach(node, path, [&](const std::string& key, const YAML::Node& at, const YAML::Node& value) {
      const SettingField* field = message->GetDescriptor()->FindFieldByName(key);
      if (field == nullptr) return UnknownField(at, path, key, *message);
      Field(at, value, Below(path, key), *field, message);
    });
  }

  void UnknownField(const YAML::Node& at, const std::string& path, const std::string& key,
                    const Message& message) {
    std::vector<std::string> known;
    for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
      known.push_back(std::string(message.GetDescriptor()->field(i)->name()));
    }
    const std::string near = Nearest(key, known);
    Fail(at.Mark(), path,
         absl::StrCat("there is no setting ", Quoted(key, kShownBytesMax),
                      near.empty() ? "" : absl::StrCat(", did you mean ", near, "?"),
                      near.empty() ? ": there are " : " There are ", absl::StrJoin(known, ", ")));
  }

  void Field(const YAML::Node& key, const YAML::Node& node, const std::string& path,
             const SettingField& field, Message* message) {
    if (field.is_map()) return Queues(node, path, dynamic_cast<config::Config*>(message));
    if (IsGroup(field)) {
      Message* group = message->GetReflection()->MutableMessage(message, &field);
      const bool none = field.options().GetExtension(config::setting).none();
      if (none && node.IsScalar() && node.Scalar() == "none") return SetNone(group);
      Group(node, path, group);
      if (none && node.IsMap() && node.size() > 0) marks_[path] = node.Mark();
      return;
    }
    if (!node.IsScalar()) {
      // Where nothing is, the parser's mark is that of what comes next.
      return Fail(node.IsNull() ? key.Mark() : node.Mark(), path,
                  absl::StrCat(Kind(node), ": expected ", ExpectedValue(field)));
    }
    marks_[path] = node.Mark();
    const absl::Status status = SetValue(node.Scalar(), field, message);
    if (!status.ok()) Fail(node.Mark(), path, std::string(status.message()));
  }

  void Queues(const YAML::Node& node, const std::string& path, config::Config* config) {
    if (node.IsNull()) return;
    if (!node.IsMap()) {
      return Fail(node.Mark(), path, "expected a mapping of queues: their names and settings");
    }
    if (node.size() > core::kQueuesMax) {
      return Fail(node.Mark(), path,
                  absl::StrCat(node.size(), " queues: expected at most ", core::kQueuesMax));
    }
    ForEach(node, path, [&](const std::string& key, const YAML::Node& at, const YAML::Node& value) {
      if (const std::string error = QueueNameError(key); !error.empty()) {
        return Fail(at.Mark(), path, absl::StrCat(Quoted(key, kShownBytesMax), ": ", error));
      }
      Group(value, Below(path, key), &(*config->mutable_queues())[key]);
    });
  }

  const std::string name_;
  // With line and column.
  std::vector<std::pair<std::pair<int, int>, std::string>> errors_;
  size_t errors_found_ = 0;
  std::map<std::string, YAML::Mark> marks_;  // of settings, by path
};

}  // namespace

absl::StatusOr<config::Config> ParseConfig(std::string_view text, const std::string& name) {
  Reader reader(Printable(name));
  config::Config config;
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(std::string(text));
    if (documents.size() > 1) {
      reader.Fail(documents[1].Mark(), "", "a second document: expected one");
    } else if (documents.empty() || documents[0].IsNull()) {
      // As when it is being written, or was cut.
      reader.Fail(YAML::Mark::null_mark(), "",
                  "it is empty: expected queues, defaults or unknown_queues (or `queues: {}`, to "
                  "set nothing)");
    } else {
      config = reader.Read(documents[0]);
      reader.CheckEffects(config);
    }
  } catch (const YAML::Exception& error) {
    reader.Fail(error.mark, "", absl::StrCat("not YAML: ", Printable(error.msg)));
  }
  if (absl::Status status = reader.status(); !status.ok()) return status;
  return config;
}

absl::StatusOr<config::Config> ReadConfig(const std::string& path) {
  const auto unreadable = [&](const std::string& why) {
    return absl::UnknownError(absl::StrCat("cannot read ", Quoted(path), ": ", why));
  };
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return unreadable(std::strerror(errno));
  std::string text;
  std::array<char, 16 << 10> part{};
  while (text.size() <= kFileBytesMax) {
    file.read(part.data(), part.size());
    text.append(part.data(), static_cast<size_t>(file.gcount()));
    if (!file) break;
  }
  // A directory can be opened, but not read.
  if (file.bad()) return unreadable(errno != 0 ? std::strerror(errno) : "reading fails");
  if (text.size() > kFileBytesMax) {
    return unreadable(absl::StrCat("it has more than ", FormatByteSize(kFileBytesMax)));
  }
  return ParseConfig(text, path);
}

}  // namespace whippletree
