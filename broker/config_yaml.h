// What a YAML file says, as a tree. The text is checked before the YAML library sees it, which
// fills the memory on some that is not UTF-8; and what it makes of it is bounded in depth and size.
// Stateless, thread-safe.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace whippletree {

inline constexpr size_t kConfigBytesMax = 1 << 20;
// Mappings and lists within each other.
inline constexpr int kConfigDepthMax = 50;
// What has been read when every alias is put in full where it stands.
inline constexpr size_t kConfigNodesMax = 1 << 20;

// In the file, counted from 0; line -1: no place.
struct ConfigPlace {
  int line = -1;
  int column = -1;

  friend bool operator==(const ConfigPlace&, const ConfigPlace&) = default;
  friend bool operator<(const ConfigPlace& a, const ConfigPlace& b) {
    return std::tie(a.line, a.column) < std::tie(b.line, b.column);
  }
};

struct YamlNode {
  enum class Kind { kNothing, kScalar, kList, kMap };

  ConfigPlace place;
  Kind kind = Kind::kNothing;
  std::string scalar;
  // Of a list: what it lists; of a mapping: key, value, key, value … An alias is the node itself
  // that it stands for.
  std::vector<const YamlNode*> children;
};

struct YamlFile {
  std::deque<YamlNode> nodes;              // which the others point to
  std::vector<const YamlNode*> documents;  // at most 2: one is one too many
};

struct YamlError {
  ConfigPlace place;
  std::string what;
};

// Reads `text` into `file`, which has to be empty. Nullopt: all went well.
std::optional<YamlError> ParseYaml(std::string_view text, YamlFile* file);

}  // namespace whippletree
