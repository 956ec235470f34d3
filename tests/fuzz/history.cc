#include "tests/fuzz/history.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

namespace whippletree::fuzz {

History::History() {
  const char* path = std::getenv("FUZZ_HISTORY");
  if (path == nullptr) return;
  const int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0 || ftruncate(file, kBytes) != 0) return;
  void* mapped = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (mapped == MAP_FAILED) return;
  file_ = static_cast<char*>(mapped);
  Clear();
}

History::~History() {
  if (file_ != nullptr) munmap(file_, kBytes);
}

void History::Clear() {
  pending_ = 0;
  end_ = kMagic.size();
  if (file_ == nullptr) return;
  std::memcpy(file_, kMagic.data(), kMagic.size());
  std::memset(file_ + end_, 0, sizeof(uint32_t));
}

void History::Add(std::string_view input) {
  pending_ = 0;
  const auto size = static_cast<uint32_t>(input.size());
  const size_t needed = sizeof size + input.size();
  if (file_ == nullptr || input.empty() || end_ + needed + sizeof size > kBytes) return;
  std::memcpy(file_ + end_, &size, sizeof size);
  std::memcpy(file_ + end_ + sizeof size, input.data(), input.size());
  std::memset(file_ + end_ + needed, 0, sizeof size);
  pending_ = needed;
}

void History::Split(std::string_view input, const std::function<void(std::string_view)>& each) {
  if (input.substr(0, kMagic.size()) != kMagic) return each(input);
  input.remove_prefix(kMagic.size());
  for (uint32_t size = 0; input.size() >= sizeof size; input.remove_prefix(size)) {
    std::memcpy(&size, input.data(), sizeof size);
    input.remove_prefix(sizeof size);
    if (size == 0 || size > input.size()) return;
    each(input.substr(0, size));
  }
}

}  // namespace whippletree::fuzz
