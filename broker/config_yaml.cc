#include "broker/config_yaml.h"

#include <absl/strings/str_cat.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <exception>
#include <sstream>
#include <unordered_map>

#include "common/printable.h"
#include "common/utf8.h"

namespace whippletree {
namespace {

constexpr char kTooDeep[] = "nested too deeply: expected at most 50 levels";
static_assert(kConfigDepthMax == 50);

// The text without its comment. One that begins in a quoted value is cut too: it hides nothing that
// the tree would not find.
std::string_view WithoutComment(std::string_view line) {
  for (size_t i = line.find('#'); i != std::string_view::npos; i = line.find('#', i + 1)) {
    if (i == 0 || line[i - 1] == ' ' || line[i - 1] == '\t') return line.substr(0, i);
  }
  return line;
}

// What the library says, for whoever does not know its terms.
std::string InPlainWords(const std::string& message) {
  static constexpr std::pair<std::string_view, std::string_view> kWords[] = {
      {"end of map flow not found", "a { is not closed: expected , or }"},
      {"end of sequence flow not found", "a [ is not closed: expected , or ]"},
      {"illegal flow end", "a } or ] that nothing opens"},
      {"end of map not found", "expected a setting at the indentation of those above, as in a: 1"},
      {"end of sequence not found", "expected a \"- \" at the indentation of those above"},
      {"illegal map value", "a colon where none is expected: put a value that has one in quotes"},
      {"illegal map key", "a ? where none is expected: put a value that begins with it in quotes"},
      {"illegal block entry", "a \"- \" where no list is expected"},
      {"illegal tab when looking for indentation", "a tab: indent with spaces"},
      {"illegal EOF in scalar", "a quote is not closed"},
      {"illegal document indicator in scalar", "a quote is not closed"},
      {"unknown token", "a character that no value begins with: put the value in quotes"},
      {"the referenced anchor is not defined",
       "a * names what no & has named: put a value that begins with * in quotes"},
      {"alias not found after *", "a * without a name: put a value that begins with * in quotes"},
      {"anchor not found after &", "a & without a name: put a value that begins with & in quotes"},
      {"unknown escape character: ", "an unknown escape: in double quotes write \\\\ for \\"},
  };
  for (const auto& [term, words] : kWords) {
    if (message.find(term) != message.npos) return std::string(words);
  }
  return Printable(message);
}

// What the library must not see: it loops on bytes that are not UTF-8, takes a control character
// for the end, and queues all of a list in brackets, with every level, before it counts them.
std::optional<YamlError> CheckText(std::string_view text) {
  if (text.size() > kConfigBytesMax) return YamlError{{}, "it has more than 1MiB"};
  static_assert(kConfigBytesMax == 1 << 20);
  int depth = 0;
  for (int line_number = 0; !text.empty(); ++line_number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const auto is_control = [](char c) {
      return (c >= 0 && c < ' ' && c != '\t' && c != '\r') || c == '\x7f';
    };
    const auto control = std::find_if(line.begin(), line.end(), is_control);
    if (control != line.end()) {
      return YamlError{{line_number, static_cast<int>(control - line.begin())},
                       "not text: a control character"};
    }
    if (!IsUtf8(line)) return YamlError{{line_number, 0}, "not text: this line is not UTF-8"};
    for (const char& c : WithoutComment(line)) {
      if (c == '[' || c == '{') ++depth;
      if ((c == ']' || c == '}') && depth > 0) --depth;
      if (depth > kConfigDepthMax) {
        return YamlError{{line_number, static_cast<int>(&c - line.data())}, kTooDeep};
      }
    }
  }
  return std::nullopt;
}

// Builds the tree from what the library reads.
class Builder : public YAML::EventHandler {
 public:
  explicit Builder(YamlFile* file) : file_(file) {}

  void OnDocumentStart(const YAML::Mark&) override {
    anchors_.clear();
    total_ = 0;
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Begin(mark, YamlNode::Kind::kNothing, anchor);
    End();
  }
  void OnScalar(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                const std::string& value) override {
    Begin(mark, YamlNode::Kind::kScalar, anchor).scalar = value;
    End();
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Begin(mark, YamlNode::Kind::kList, anchor);
  }
  void OnSequenceEnd() override { End(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Begin(mark, YamlNode::Kind::kMap, anchor);
  }
  void OnMapEnd() override { End(); }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto it = anchors_.find(anchor);
    if (it == anchors_.end() || it->second.size == 0) {
      throw YAML::ParserException(mark, "an alias of what it is in");
    }
    Count(mark, it->second.size);
    Attach(it->second.node);
  }

 private:
  struct Anchor {
    const YamlNode* node = nullptr;
    size_t size = 0;  // in nodes, aliases in full; 0: it has not ended
  };
  struct Open {
    YamlNode* node;
    YAML::anchor_t anchor;
    size_t total_before;
  };

  YamlNode& Begin(const YAML::Mark& mark, YamlNode::Kind kind, YAML::anchor_t anchor) {
    const bool is_level = kind == YamlNode::Kind::kList || kind == YamlNode::Kind::kMap;
    if (is_level && open_.size() >= kConfigDepthMax) throw YAML::ParserException(mark, kTooDeep);
    open_.push_back({&file_->nodes.emplace_back(), anchor, total_});
    Count(mark, 1);
    YamlNode& node = *open_.back().node;
    node.place = {mark.line, mark.column};
    node.kind = kind;
    if (anchor != 0) anchors_[anchor] = {&node, 0};
    return node;
  }

  void End() {
    const Open ended = open_.back();
    open_.pop_back();
    if (ended.anchor != 0) anchors_[ended.anchor].size = total_ - ended.total_before;
    Attach(ended.node);
  }

  void Attach(const YamlNode* node) {
    (open_.empty() ? file_->documents : open_.back().node->children).push_back(node);
  }

  void Count(const YAML::Mark& mark, size_t nodes) {
    total_ += nodes;
    if (total_ > kConfigNodesMax) throw YAML::ParserException(mark, "too much, aliases in full");
  }

  YamlFile* const file_;
  std::vector<Open> open_;
  std::unordered_map<YAML::anchor_t, Anchor> anchors_;
  size_t total_ = 0;
};

}  // namespace

std::optional<YamlError> ParseYaml(std::string_view text, YamlFile* file) {
  if (std::optional<YamlError> error = CheckText(text)) return error;
  try {
    std::istringstream in{std::string(text)};
    YAML::Parser parser(in);
    Builder builder(file);
    while (file->documents.size() < 2 && parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    ConfigPlace place;
    if (!error.mark.is_null()) place = {error.mark.line, error.mark.column};
    return YamlError{place, absl::StrCat("not YAML: ", InPlainWords(error.msg))};
  } catch (const std::exception& error) {  // of its containers
    return YamlError{{}, absl::StrCat("not YAML: ", Printable(error.what()))};
  }
  return std::nullopt;
}

}  // namespace whippletree
