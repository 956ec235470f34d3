#include "producer/line_sorter.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <queue>
#include <utility>

#include "common/check.h"

namespace whippletree {
namespace {

constexpr size_t kReadBytes = 256 << 10;
constexpr size_t kWriteBytes = 256 << 10;

absl::Status FileError(const std::string& what) {
  return absl::UnavailableError(what + ": " + std::strerror(errno) +
                                ": make room there, or set TMPDIR to a folder that has some");
}

bool Before(std::string_view a, std::string_view b) {
  const int order = KeyOf(a).compare(KeyOf(b));
  return order != 0 ? order < 0 : a < b;
}

// Reads the lines of a run, one after the other.
class RunReader {
 public:
  RunReader(int file, uint64_t begin, uint64_t end) : file_(file), at_(begin), end_(end) {}

  // Moves to the next line; false: there is none, or it cannot be read.
  bool Next() {
    uint32_t size = 0;
    if (!Need(sizeof(size))) return false;
    std::memcpy(&size, buffer_.data() + used_, sizeof(size));
    used_ += sizeof(size);
    if (!Need(size)) return false;
    line_ = std::string_view(buffer_).substr(used_, size);
    used_ += size;
    return true;
  }
  std::string_view line() const { return line_; }
  const absl::Status& status() const { return status_; }

 private:
  // Has `size` unused bytes in the buffer.
  bool Need(size_t size) {
    if (buffer_.size() - used_ >= size) return true;
    buffer_.erase(0, used_);
    used_ = 0;
    while (buffer_.size() < size && at_ < end_) {
      const size_t old = buffer_.size();
      const size_t wanted = std::min<uint64_t>(end_ - at_, std::max(kReadBytes, size - old));
      buffer_.resize(old + wanted);
      const ssize_t n = pread(file_, buffer_.data() + old, wanted, static_cast<off_t>(at_));
      buffer_.resize(old + static_cast<size_t>(std::max<ssize_t>(n, 0)));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        status_ = FileError("cannot read a temporary file");
        return false;
      }
      at_ += static_cast<uint64_t>(n);
    }
    return buffer_.size() >= size;
  }

  const int file_;
  uint64_t at_;  // in the file, after the buffer
  const uint64_t end_;
  std::string buffer_;
  size_t used_ = 0;
  std::string_view line_;
  absl::Status status_;
};

}  // namespace

std::string_view KeyOf(std::string_view line) { return line.substr(0, line.find('\t')); }

LineSorter::LineSorter(std::string folder) : folder_(std::move(folder)) {}

LineSorter::~LineSorter() {
  if (file_ >= 0) close(file_);
}

LineSorter::LineSorter(LineSorter&& other) noexcept
    : folder_(other.folder_),
      text_(std::move(other.text_)),
      entries_(std::move(other.entries_)),
      file_(std::exchange(other.file_, -1)),
      file_bytes_(other.file_bytes_),
      runs_(std::move(other.runs_)) {}

void LineSorter::Add(std::string_view line) {
  const size_t key_size = line.find('\t');
  WT_CHECK(key_size != std::string_view::npos && line.size() <= UINT32_MAX);
  entries_.push_back(
      {text_.size(), static_cast<uint32_t>(line.size()), static_cast<uint32_t>(key_size)});
  text_ += line;
}

void LineSorter::Sort() {
  std::sort(entries_.begin(), entries_.end(), [this](const Entry& a, const Entry& b) {
    const std::string_view line_a = Line(a);
    const std::string_view line_b = Line(b);
    const int order = line_a.substr(0, a.key_size).compare(line_b.substr(0, b.key_size));
    return order != 0 ? order < 0 : line_a < line_b;
  });
}

absl::Status LineSorter::OpenFile() {
  if (file_ >= 0) return absl::OkStatus();
  std::string path = folder_ + "/whippletree-XXXXXX";
  file_ = mkostemp(path.data(), O_CLOEXEC);
  if (file_ < 0) return FileError("cannot make a temporary file in " + folder_);
  unlink(path.c_str());
  return absl::OkStatus();
}

absl::Status LineSorter::Append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = pwrite(file_, bytes.data(), bytes.size(), static_cast<off_t>(file_bytes_));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FileError("cannot write a temporary file in " + folder_);
    file_bytes_ += static_cast<uint64_t>(n);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::Status LineSorter::Spill() {
  if (entries_.empty()) return absl::OkStatus();
  if (absl::Status status = OpenFile(); !status.ok()) return status;
  Sort();
  const uint64_t begin = file_bytes_;
  std::string out;
  for (const Entry& entry : entries_) {
    out.append(reinterpret_cast<const char*>(&entry.size), sizeof(entry.size));
    out += Line(entry);
    if (out.size() < kWriteBytes) continue;
    if (absl::Status status = Append(out); !status.ok()) return status;
    out.clear();
  }
  if (absl::Status status = Append(out); !status.ok()) return status;
  runs_.push_back({begin, file_bytes_});
  std::string().swap(text_);
  std::vector<Entry>().swap(entries_);
  return absl::OkStatus();
}

absl::Status LineSorter::Read(const std::function<absl::Status(std::string_view line)>& take) {
  if (runs_.empty()) {
    Sort();
    for (const Entry& entry : entries_) {
      if (absl::Status status = take(Line(entry)); !status.ok()) return status;
    }
    return absl::OkStatus();
  }
  if (absl::Status status = Spill(); !status.ok()) return status;
  std::vector<std::unique_ptr<RunReader>> readers;
  const auto after = [](const RunReader* a, const RunReader* b) {
    return Before(b->line(), a->line());
  };
  std::priority_queue<RunReader*, std::vector<RunReader*>, decltype(after)> heads(after);
  const auto advance = [&heads](RunReader* reader) {
    if (reader->Next()) heads.push(reader);
    return reader->status();
  };
  for (const Run& run : runs_) {
    readers.push_back(std::make_unique<RunReader>(file_, run.begin, run.end));
    if (absl::Status status = advance(readers.back().get()); !status.ok()) return status;
  }
  while (!heads.empty()) {
    RunReader* const reader = heads.top();
    heads.pop();
    if (absl::Status status = take(reader->line()); !status.ok()) return status;
    if (absl::Status status = advance(reader); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace whippletree
