// The part of broker/config.h that reads YAML.
#include <absl/cleanup/cleanup.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <utility>

#include "broker/config.h"
#include "broker/config_value.h"
#include "broker/config_yaml.h"
#include "broker/core/limits.h"
#include "common/cli.h"
#include "common/codec.h"
#include "common/printable.h"
#include "common/utf8.h"

namespace whippletree {
namespace {

using google::protobuf::Message;

constexpr size_t kErrorsMax = 20;
constexpr size_t kShownBytesMax = 60;  // of a name in an error

// Fills messages from nodes and goes on after an error, to find them all.
class Reader {
 public:
  explicit Reader(std::string name) : name_(std::move(name)) {}

  config::Config Read(const YamlNode& root) {
    config::Config config;
    Group(root, "", &config);
    return config;
  }

  void Fail(const ConfigPlace& place, const std::string& path, const std::string& what) {
    ++errors_found_;
    const std::string numbers =
        place.line < 0 ? "" : absl::StrCat(":", place.line + 1, ":", place.column + 1);
    errors_.push_back(
        {place, absl::StrCat(name_, numbers, ": ", path, path.empty() ? "" : ": ", what)});
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
        Fail(places_[whole], whole, what);
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
      if (places_.contains(Below(path, "breaker")) && !opens(queue.breaker()) &&
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

  using Kind = YamlNode::Kind;

  static std::string KindOf(const YamlNode& node) {
    return node.kind == Kind::kList ? "a list" : node.kind == Kind::kMap ? "a mapping" : "nothing";
  }

  static std::string Below(const std::string& path, const std::string& name) {
    return path.empty() ? name : absl::StrCat(path, ".", name);
  }

  // Calls entry(key, key node, value node) for each key that is given for the first time.
  template <typename Entry>
  void ForEach(const YamlNode& node, const std::string& path, const Entry& entry) {
    std::map<std::string_view, int> lines;
    for (size_t i = 0; i + 1 < node.children.size(); i += 2) {
      const YamlNode& at = *node.children[i];
      if (at.kind != Kind::kScalar) {
        Fail(at.place, path, "a name is expected here; put it in quotes");
        continue;
      }
      if (at.scalar.empty()) {
        Fail(at.place, path,
             absl::StrCat("the name of a ", path == "queues" ? "queue" : "setting",
                          " is empty: give it one, or remove it"));
        continue;
      }
      const std::string& key = at.scalar;
      const auto [first, fresh] = lines.emplace(key, at.place.line + 1);
      if (!fresh) {
        Fail(at.place, Below(path, Shorten(Printable(key), kShownBytesMax)),
             absl::StrCat("given twice: it is in line ", first->second, " already"));
        continue;
      }
      entry(key, at, *node.children[i + 1]);
    }
  }

  // A mapping of settings. Nothing at all, as when every line of it is a comment, is good too.
  void Group(const YamlNode& node, const std::string& path, Message* message) {
    if (node.kind == Kind::kNothing) return;
    if (node.kind != Kind::kMap) {
      Fail(node.place, path,
           absl::StrCat(
               node.kind == Kind::kScalar ? Quoted(node.scalar, kShownBytesMax) : KindOf(node),
               " where settings are expected, as in ", message->GetDescriptor()->field(0)->name(),
               ": …"));
      return;
    }
    ForEach(node, path, [&](const std::string& key, const YamlNode& at, const YamlNode& value) {
      const SettingField* field = message->GetDescriptor()->FindFieldByName(key);
      if (field == nullptr) return UnknownField(at, path, key, *message);
      Field(at, value, Below(path, key), *field, message);
    });
  }

  void UnknownField(const YamlNode& at, const std::string& path, const std::string& key,
                    const Message& message) {
    std::vector<std::string> known;
    for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
      known.push_back(std::string(message.GetDescriptor()->field(i)->name()));
    }
    const std::string near = Nearest(key, known);
    Fail(at.place, path,
         absl::StrCat("there is no setting ", Quoted(key, kShownBytesMax),
                      near.empty() ? "" : absl::StrCat(", did you mean ", near, "?"),
                      near.empty() ? ": there are " : " There are ", absl::StrJoin(known, ", ")));
  }

  void Field(const YamlNode& key, const YamlNode& node, const std::string& path,
             const SettingField& field, Message* message) {
    // As when the file is being written, or was cut: nothing may be meant, or all of it is missing.
    if (node.kind == Kind::kNothing && path == field.name() && (field.is_map() || IsGroup(field))) {
      return Fail(key.place, path,
                  absl::StrCat("nothing is below it: expected ",
                               field.is_map() ? "names of queues and their settings" : "settings",
                               " (or `", path, ": {}`, to set nothing)"));
    }
    if (field.is_map()) return Queues(node, path, dynamic_cast<config::Config*>(message));
    if (IsGroup(field)) {
      Message* group = message->GetReflection()->MutableMessage(message, &field);
      const bool none = field.options().GetExtension(config::setting).none();
      if (none && node.kind == Kind::kScalar && node.scalar == "none") return SetNone(group);
      Group(node, path, group);
      if (none && node.kind == Kind::kMap && !node.children.empty()) places_[path] = node.place;
      return;
    }
    if (node.kind != Kind::kScalar) {
      // Where nothing is, the parser's place is that of what comes next.
      return Fail(node.kind == Kind::kNothing ? key.place : node.place, path,
                  absl::StrCat(KindOf(node), ": expected ", ExpectedValue(field)));
    }
    places_[path] = node.place;
    const absl::Status status = SetValue(node.scalar, field, message);
    if (!status.ok()) Fail(node.place, path, std::string(status.message()));
  }

  void Queues(const YamlNode& node, const std::string& path, config::Config* config) {
    if (node.kind != Kind::kMap) {
      return Fail(node.place, path, "expected a mapping of queues: their names and settings");
    }
    if (const size_t queues = node.children.size() / 2; queues > core::kQueuesMax) {
      return Fail(node.place, path,
                  absl::StrCat(queues, " queues: expected at most ", core::kQueuesMax));
    }
    ForEach(node, path, [&](const std::string& key, const YamlNode& at, const YamlNode& value) {
      if (const std::string error = QueueNameError(key); !error.empty()) {
        return Fail(at.place, path, absl::StrCat(Quoted(key, kShownBytesMax), ": ", error));
      }
      Group(value, Below(path, key), &(*config->mutable_queues())[key]);
    });
  }

  const std::string name_;
  std::vector<std::pair<ConfigPlace, std::string>> errors_;
  size_t errors_found_ = 0;
  std::map<std::string, ConfigPlace> places_;  // of settings, by path
};

}  // namespace

absl::StatusOr<config::Config> ParseConfig(std::string_view text, const std::string& name) {
  Reader reader(Printable(name));
  config::Config config;
  YamlFile file;
  if (const std::optional<YamlError> error = ParseYaml(text, &file)) {
    reader.Fail(error->place, "", error->what);
  } else if (file.documents.size() > 1) {
    reader.Fail(file.documents[1]->place, "", "a second document: expected one");
  } else if (file.documents.empty() || file.documents[0]->kind == YamlNode::Kind::kNothing) {
    // As when it is being written, or was cut.
    reader.Fail({}, "",
                "it is empty: expected queues, defaults or unknown_queues (or `queues: {}`, to "
                "set nothing)");
  } else {
    config = reader.Read(*file.documents[0]);
    reader.CheckEffects(config);
  }
  if (absl::Status status = reader.status(); !status.ok()) return status;
  return config;
}

absl::StatusOr<config::Config> ReadConfig(const std::string& path) {
  const auto unreadable = [&](const std::string& why) {
    return absl::UnknownError(absl::StrCat("cannot read ", Quoted(path), ": ", why));
  };
  // Opening a pipe would wait for its other end, and reading one for as long as that likes.
  const int fd = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd < 0) return unreadable(FileError(errno));
  const absl::Cleanup close_it = [fd] { close(fd); };
  struct stat about {};
  if (fstat(fd, &about) != 0) return unreadable(std::strerror(errno));
  if (S_ISDIR(about.st_mode)) return unreadable(std::strerror(EISDIR));
  if (!S_ISREG(about.st_mode)) return unreadable("it is not a regular file");
  std::string text;
  std::array<char, 16 << 10> part{};
  // Whatever the file's size is said to be, and however it grows.
  while (text.size() <= kConfigBytesMax) {
    const ssize_t size = read(fd, part.data(), part.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return unreadable(std::strerror(errno));
    if (size == 0) return ParseConfig(text, path);
    text.append(part.data(), static_cast<size_t>(size));
  }
  return unreadable(absl::StrCat("it has more than ", FormatByteSize(kConfigBytesMax)));
}

}  // namespace whippletree
