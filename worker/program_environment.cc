#include "worker/program_environment.h"

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "common/printable.h"

namespace whippletree {
namespace {

constexpr char kOwn[] = "WHIPPLETREE_";
constexpr std::string_view kAlwaysKept[] = {"PATH", "HOME", "LANG"};

bool IsOwn(std::string_view name) { return name.substr(0, sizeof kOwn - 1) == kOwn; }

}  // namespace

std::vector<std::string> ProgramEnvironment(const EnvironmentOptions& options) {
  const auto is_kept = [&](std::string_view name) {
    if (IsOwn(name)) return false;
    return !options.clean ||
           std::find(std::begin(kAlwaysKept), std::end(kAlwaysKept), name) !=
               std::end(kAlwaysKept) ||
           std::find(options.keep.begin(), options.keep.end(), name) != options.keep.end();
  };
  std::vector<std::string> kept;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    if (is_kept(text.substr(0, text.find('=')))) kept.emplace_back(text);
  }
  if (!options.broker.empty()) kept.push_back(absl::StrCat(kOwn, "BROKER=", options.broker));
  return kept;
}

std::string KeptNameError(const std::string& name) {
  if (name.empty()) {
    return "the name of a variable is empty: expected clean and names, as in clean,TMPDIR";
  }
  if (std::any_of(name.begin(), name.end(), absl::ascii_isspace)) {
    return absl::StrCat(Quoted(name),
                        " is no name of a variable: expected names with commas between and no "
                        "spaces, as in clean,TMPDIR,USER");
  }
  if (absl::StrContains(name, "=")) {
    return absl::StrCat(Quoted(name), ": only names; values are those of the worker's environment");
  }
  if (IsOwn(name)) {
    return absl::StrCat(Quoted(name), ": a program never inherits a variable of Whippletree");
  }
  return "";
}

}  // namespace whippletree
