// The second half of common/cli.h: --help as a manual, and errors in one line.
#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_replace.h>
#include <absl/strings/str_split.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>

#include "common/cli.h"
#include "common/printable.h"
#include "common/version.h"

namespace whippletree {
namespace {

constexpr size_t kHelpWidth = 80;
constexpr size_t kHelpIndent = 28;  // where descriptions begin

constexpr char kTogether[] = " cannot be given together with ";

// What is said of a flag that takes no value and got this one.
std::string NoBoolean(const std::string& value) {
  return ": " + Quoted(value) + " is not known here: expected true or false";
}

// `text` in lines of at most kHelpWidth columns, all but the first indented. A column is a byte.
std::string Wrapped(const std::string& text, size_t indent) {
  std::string out;
  size_t column = indent;
  for (const auto& word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    if (column > indent && column + 1 + word.size() > kHelpWidth) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    }
    if (column > indent) out += ' ', ++column;
    out.append(word.data(), word.size());
    column += word.size();
  }
  return out;
}

std::string Entry(const std::string& name, const std::string& description) {
  std::string out = "  " + name;
  out += out.size() + 2 <= kHelpIndent ? std::string(kHelpIndent - out.size(), ' ')
                                       : "\n" + std::string(kHelpIndent, ' ');
  return out + Wrapped(description, kHelpIndent) + "\n";
}

// Lays --help out itself, because CLI11's own layout differs between its versions.
class ManualFormatter : public CLI::Formatter {
 public:
  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode /*mode*/) const override {
    const auto commands = app->get_subcommands([](const CLI::App*) { return true; });
    std::string out = app->get_description() + "\n\nUsage: " + name + " [OPTIONS]";
    for (const CLI::Option* option : app->get_options()) {
      if (option->get_positional()) out += " " + make_option_usage(option);
    }
    out += commands.empty() ? "\n" : " COMMAND\n";
    if (!commands.empty()) out += "\nCommands:\n";
    for (const CLI::App* command : commands) {
      const std::string description = command->get_description();
      out += Entry(command->get_name(), description.substr(0, description.find('\n')));
    }
    for (const std::string& group : app->get_groups()) out += Group(app, group);
    if (!commands.empty()) {
      out += "\n`" + name + " COMMAND --help` says more about a command.\n";
    }
    if (!app->get_footer().empty()) out += "\n" + app->get_footer() + "\n";
    return out + "\n" + ExitCodesHelp();
  }

 private:
  static std::string Group(const CLI::App* app, const std::string& group) {
    std::string out;
    for (const CLI::Option* option : app->get_options()) {
      if (option->get_group() == group && !group.empty()) out += OptionEntry(option);
    }
    return out.empty() ? out : "\n" + group + ":\n" + out;
  }

  static std::string OptionEntry(const CLI::Option* option) {
    const bool positional = option->get_positional();
    std::string name = positional ? option->get_name(true) : option->get_name(false, true);
    name = absl::StrReplaceAll(name, {{",", ", "}});
    if (!positional && option->get_type_size() != 0) name += " " + option->get_type_name();
    std::string description = option->get_description();
    if (option->get_required()) description += " (required)";
    if (!option->get_default_str().empty()) {
      description += " (default: " + option->get_default_str() + ")";
    }
    if (!option->get_envname().empty()) description += " [" + option->get_envname() + "]";
    return Entry(name, description);
  }
};

void Prepare(CLI::App* app) {
  app->formatter(std::make_shared<ManualFormatter>());
  for (CLI::Option* option : app->get_options()) {
    if (!option->get_configurable() || option->get_lnames().empty()) continue;
    if (!option->get_envname().empty()) continue;
    std::string name = "WHIPPLETREE_" + absl::AsciiStrToUpper(option->get_lnames()[0]);
    std::replace(name.begin(), name.end(), '-', '_');
    option->envname(name);
  }
  for (CLI::App* command : app->get_subcommands([](const CLI::App*) { return true; })) {
    Prepare(command);
  }
}

// The command that was given, or the program.
const CLI::App* Innermost(const CLI::App* app) {
  const auto commands = app->get_subcommands();
  return commands.empty() ? app : Innermost(commands.back());
}

std::string FullName(const CLI::App* app) {
  const CLI::App* parent = app->get_parent();
  return parent == nullptr ? app->get_name() : FullName(parent) + " " + app->get_name();
}

std::string UnknownArgument(const CLI::App* app, const std::string& argument) {
  if (argument.size() < 2 || argument[0] != '-') return "unexpected argument " + Quoted(argument);
  const std::string flag = argument.substr(0, argument.find('='));
  std::vector<std::string> flags;
  for (const CLI::Option* option : app->get_options()) {
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  }
  const std::string near = Nearest(flag, flags);
  return "unknown flag " + flag + (near.empty() ? "" : ", did you mean " + near + "?");
}

// Whether the value of `option` is that of its variable.
bool IsFromEnvironment(const CLI::Option* option, const std::vector<std::string>& args) {
  const std::string variable = option->get_envname();
  if (variable.empty() || std::getenv(variable.c_str()) == nullptr) return false;
  return std::none_of(args.begin(), args.end(), [&](const std::string& arg) {
    const std::string name = arg.substr(0, arg.find('='));
    return (absl::StartsWith(name, "--") && option->check_lname(name.substr(2))) ||
           (name.size() > 1 && name[0] == '-' && option->check_sname(name.substr(1, 1)));
  });
}

// Says where a wrong value, or one of two that exclude each other, comes from if the command line
// does not show it.
std::string EnvironmentNote(const CLI::App* app, const std::string& message,
                            const std::vector<std::string>& args) {
  for (const CLI::Option* option : app->get_options()) {
    const std::string name = option->get_name(false, false);
    if (!IsFromEnvironment(option, args)) continue;
    if (absl::StartsWith(message, name + ":")) return " (from " + option->get_envname() + ")";
    if (absl::StartsWith(message, name + kTogether) || absl::EndsWith(message, kTogether + name)) {
      return " (" + name + " is from " + option->get_envname() + ")";
    }
  }
  return "";
}

// What is wrong with the value of a flag that takes none, as in --json=7 or WHIPPLETREE_JSON=7.
// CLI11 takes any number.
std::string WrongFlag(const CLI::App* app) {
  for (const CLI::Option* option : app->get_options()) {
    if (option->get_items_expected_max() > 0) continue;
    for (const std::string& value : option->results()) {
      if (value != "0" && value != "1" && value.find_first_not_of("-.0123456789") == value.npos) {
        return option->get_name(false, false) + NoBoolean(value);
      }
    }
  }
  for (const CLI::App* command : app->get_subcommands()) {
    if (std::string error = WrongFlag(command); !error.empty()) return error;
  }
  return "";
}

// What is wrong if a value is empty, as that of a script's variable which was never set.
std::string EmptyValue(const CLI::App* app) {
  for (const CLI::Option* option : app->get_options()) {
    const std::vector<std::string> values = option->results();
    if (std::any_of(values.begin(), values.end(),
                    [](const auto& value) { return value.empty(); })) {
      return option->get_name(option->get_positional(), false) + ": expected a value, got \"\"";
    }
    const std::string variable = option->get_envname();
    if (variable.empty() || !values.empty()) continue;
    const char* value = std::getenv(variable.c_str());
    if (value != nullptr && *value == '\0') {
      return option->get_name(false, false) + ": " + variable +
             " is empty: give it a value, or unset it";
    }
  }
  for (const CLI::App* command : app->get_subcommands()) {
    if (std::string error = EmptyValue(command); !error.empty()) return error;
  }
  return "";
}

// The command that `args` name, before they are parsed, or the program.
const CLI::App* CommandOf(const CLI::App* app, const std::vector<std::string>& args) {
  for (const std::string& arg : args) {
    for (const CLI::App* command : app->get_subcommands([](const CLI::App*) { return true; })) {
      if (command->get_name() == arg) app = command;
    }
  }
  return app;
}

// Adds the names of all options of the program and its commands: whether each takes a value.
void AddNames(const CLI::App* app, std::map<std::string, bool>* takes_value) {
  for (const CLI::Option* option : app->get_options()) {
    const bool takes = option->get_items_expected_max() > 0;
    for (const std::string& name : option->get_lnames()) (*takes_value)["--" + name] |= takes;
    for (const std::string& name : option->get_snames()) (*takes_value)["-" + name] |= takes;
  }
  for (const CLI::App* command : app->get_subcommands([](const CLI::App*) { return true; })) {
    AddNames(command, takes_value);
  }
}

// What is wrong if an option has no value where CLI11 would take the next argument for it: a
// script's variable which was never set, as in --queue="$Q" --no-wait.
std::string SwallowedFlag(const CLI::App* app, const std::vector<std::string>& args) {
  std::map<std::string, bool> takes_value;
  AddNames(app, &takes_value);
  const auto takes = [&](const std::string& name) {
    const auto found = takes_value.find(name);
    return found != takes_value.end() && found->second;
  };
  for (size_t i = 0; i < args.size() && args[i] != "--"; ++i) {
    const size_t equals = args[i].find('=');
    if (equals != std::string::npos) {
      const std::string name = args[i].substr(0, equals);
      if (equals + 1 == args[i].size() && takes(name)) {
        return name + ": expected a value, got \"\"";
      }
      continue;
    }
    if (!takes(args[i]) || i + 1 == args.size()) continue;
    const std::string next = args[i + 1].substr(0, args[i + 1].find('='));
    if (takes_value.contains(next)) return args[i] + " needs a value, and " + next + " is a flag";
    ++i;
  }
  return "";
}

std::string Reworded(const CLI::App* app, const CLI::ParseError& error) {
  const std::string message = error.what();
  const size_t colon = message.find(": ");
  const std::string subject = message.substr(0, colon);
  const std::string name = error.get_name();
  if (name == "RequiredError" && absl::StartsWith(message, "A subcommand")) {
    std::vector<std::string> names;
    for (const CLI::App* command : app->get_subcommands([](const CLI::App*) { return true; })) {
      names.push_back(command->get_name());
    }
    const std::vector<std::string> unknown = app->remaining(true);
    const std::string last = names.back();
    names.pop_back();
    return (unknown.empty() ? "a command is required: "
                            : "there is no command " + Quoted(unknown[0]) + ", only ") +
           (names.empty() ? last : absl::StrJoin(names, ", ") + " or " + last);
  }
  if (name == "ArgumentMismatch" && colon != std::string::npos) {
    if (absl::EndsWith(message, "missing")) return subject + " needs a value";
    if (absl::StrContains(message, "At Most 1")) return subject + " was given more than once";
  }
  // Values of other options are read by functions of their own.
  if (name == "ConversionError" && subject == "Could not convert") {
    const size_t equals = message.find(" = ");
    if (equals != std::string::npos) {
      return message.substr(colon + 2, equals - colon - 2) + NoBoolean(message.substr(equals + 3));
    }
  }
  if (name == "ExcludesError") {
    const size_t verb = message.find(" excludes ");
    if (verb != std::string::npos) {
      return message.substr(0, verb) + kTogether + message.substr(verb + sizeof(" excludes ") - 1);
    }
  }
  return message;
}

// Levenshtein's distance.
size_t Distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0]++;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t substituted = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string Nearest(const std::string& word, const std::vector<std::string>& known) {
  std::string near;
  size_t distance_min = std::min<size_t>(4, word.size() / 2);
  for (const std::string& candidate : known) {
    const size_t distance = Distance(word, candidate);
    if (distance < distance_min) distance_min = distance, near = candidate;
  }
  return near;
}

std::optional<int> ParseCommandLine(CLI::App* app, std::vector<std::string> args) {
  if (app->get_version_ptr() == nullptr) {
    app->set_version_flag("--version", app->get_name() + " " + kVersion,
                          "Print the version and exit");
  }
  Prepare(app);
  const auto usage_error_of = [&](const CLI::App* command, const std::string& message) {
    PrintError(app->get_name(), message + " (see " + FullName(command) + " --help)");
    return kExitUsage;
  };
  const auto usage_error = [&](const std::string& message) {
    return usage_error_of(Innermost(app), message);
  };
  if (const std::string error = SwallowedFlag(app, args); !error.empty()) {
    return usage_error_of(CommandOf(app, args), error);
  }
  try {
    // CLI11 takes them from the back.
    app->parse(std::vector<std::string>(args.rbegin(), args.rend()));
    if (const std::string error = EmptyValue(app); !error.empty()) return usage_error(error);
    const std::string error = WrongFlag(app);
    if (error.empty()) return std::nullopt;
    return usage_error(error + EnvironmentNote(Innermost(app), error, args));
  } catch (const CLI::CallForVersion& version) {
    std::cout << version.what() << std::endl;
    return kExitOk;
  } catch (const CLI::Success&) {
    std::cout << app->help() << std::flush;
    return kExitOk;
  } catch (const CLI::ParseError& error) {
    const CLI::App* innermost = Innermost(app);
    const std::vector<std::string> unknown = app->remaining(true);
    std::string message;
    // CLI11 reports what is missing first, which misleads when a flag is misspelt.
    const bool is_extra = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr;
    if (!unknown.empty() && (is_extra || absl::StartsWith(unknown[0], "-"))) {
      message = UnknownArgument(innermost, unknown[0]);
    } else {
      message = Reworded(innermost, error);
      message += EnvironmentNote(innermost, message, args);
    }
    return usage_error(message);
  }
}

std::optional<int> ParseCommandLine(CLI::App* app, int argc, char** argv) {
  return ParseCommandLine(app, std::vector<std::string>(argv + std::min(argc, 1), argv + argc));
}

}  // namespace whippletree
