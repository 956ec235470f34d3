#include "tests/bench/drivers/flags.h"

#include <cstdlib>

#include "tests/bench/drivers/ledger.h"

namespace whippletree::bench {

Flags::Flags(int argc, char** argv) {
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    if (name.rfind("--", 0) != 0 || i + 1 == argc) Fail("expected --name value, not " + name);
    values_[name.substr(2)] = argv[i + 1];
  }
}

std::string Flags::Text(const std::string& name, const std::string& otherwise) {
  const auto it = values_.find(name);
  if (it == values_.end()) return otherwise;
  std::string value = it->second;
  values_.erase(it);
  return value;
}

double Flags::Real(const std::string& name, double otherwise) {
  const std::string text = Text(name, "");
  if (text.empty()) return otherwise;
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (*end != '\0' || value < 0) Fail("--" + name + " takes a number, not " + text);
  return value;
}

uint64_t Flags::Number(const std::string& name, uint64_t otherwise) {
  return static_cast<uint64_t>(Real(name, static_cast<double>(otherwise)));
}

void Flags::Done() const {
  if (!values_.empty()) Fail("no flag --" + values_.begin()->first);
}

}  // namespace whippletree::bench
