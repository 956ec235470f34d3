// usage: fuzz-replay CORPUS [TARGET]
//
// Gives each target what is kept for it in the folder CORPUS/TARGET. An input that ends the process
// is the last one that was named; what it is the first to reach is said below it. Exit status 1:
// there are no inputs, or they do not reach what they are kept for.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "common/codec.h"
#include "tests/fuzz/target.h"

namespace whippletree::fuzz {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> FilesIn(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

// Returns how many inputs there were.
size_t Replay(const fs::path& folder, Target target) {
  const std::vector<fs::path> files = FilesIn(folder);
  for (const fs::path& path : files) {
    std::cout << path.string() << std::endl;  // also if the next line ends the process
    std::ostringstream bytes;
    bytes << std::ifstream(path, std::ios::binary).rdbuf();
    const auto before = Reached();
    target(bytes.str());
    for (const auto& [what, times] : Reached()) {
      const auto known = before.find(what);
      if (times > 0 && (known == before.end() || known->second == 0)) {
        std::cout << "  reaches " << what << std::endl;
      }
    }
  }
  return files.size();
}

int Main(const fs::path& corpus, const std::string& only) {
  SilenceProtobuf();
  int status = 0;
  for (const auto& [name, target] : Targets()) {
    if (!only.empty() && name != only) continue;
    if (Replay(corpus / name, target) > 0) continue;
    std::cerr << "no inputs in " << corpus / name << "\n";
    status = 1;
  }
  for (const fs::path& folder : FilesIn(corpus)) {
    if (Targets().contains(folder.filename())) continue;
    std::cerr << "there is no target for " << folder << "\n";
    status = 1;
  }
  for (const auto& [what, times] : Reached()) {
    if (times > 0 || !only.empty()) continue;
    std::cerr << "never reached: " << what << "\n";
    status = 1;
  }
  return status;
}

}  // namespace
}  // namespace whippletree::fuzz

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  return whippletree::fuzz::Main(argv[1], argc > 2 ? argv[2] : "");
}
