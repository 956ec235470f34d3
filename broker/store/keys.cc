#include "broker/store/keys.h"

#include <absl/strings/escaping.h>
#include <absl/strings/str_cat.h>

#include <cstdint>
#include <optional>

namespace whippletree {
namespace {

using record::Record;

std::string Begin(Record::RowCase kind) { return std::string(1, static_cast<char>(kind)); }

void AppendNumber(uint64_t number, std::string* key) {
  for (int shift = 56; shift >= 0; shift -= 8) key->push_back(static_cast<char>(number >> shift));
}

bool AppendName(const std::string& name, std::string* key) {
  if (name.find('\0') != std::string::npos) return false;
  key->append(name);
  key->push_back('\0');
  return true;
}

std::string NumbersKey(Record::RowCase kind, uint64_t major, std::optional<uint64_t> minor = {}) {
  std::string key = Begin(kind);
  AppendNumber(major, &key);
  if (minor) AppendNumber(*minor, &key);
  return key;
}

absl::StatusOr<std::string> NameKey(Record::RowCase kind, const std::string& name,
                                    std::optional<uint64_t> number = {}) {
  std::string key = Begin(kind);
  if (!AppendName(name, &key)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the name of a ", KindName(kind), " has a 0 byte: \"", absl::CHexEscape(name), "\""));
  }
  if (number) AppendNumber(*number, &key);
  return key;
}

std::optional<uint64_t> TakeNumber(std::string_view* rest) {
  if (rest->size() < 8) return std::nullopt;
  uint64_t number = 0;
  for (int i = 0; i < 8; ++i) number = number << 8 | static_cast<uint8_t>((*rest)[i]);
  rest->remove_prefix(8);
  return number;
}

// The fields of a key, for people; nullopt if it is not a key of this kind.
std::optional<std::string> FieldsText(int kind, std::string_view rest) {
  std::string text;
  switch (kind) {
    case Record::kQueue:
    case Record::kProducer:
    case Record::kGroup: {
      const size_t end = rest.find('\0');
      if (end == std::string_view::npos) return std::nullopt;
      text = absl::StrCat("\"", absl::CHexEscape(std::string(rest.substr(0, end))), "\"");
      rest.remove_prefix(end + 1);
      if (kind != Record::kGroup) break;
      const auto group = TakeNumber(&rest);
      if (!group) return std::nullopt;
      absl::StrAppend(&text, " ", *group);
      break;
    }
    case Record::kStream:
    case Record::kLease: {
      const auto number = TakeNumber(&rest);
      if (!number) return std::nullopt;
      text = absl::StrCat(*number);
      break;
    }
    default: {
      const auto stream = TakeNumber(&rest);
      const auto first = TakeNumber(&rest);
      if (!stream || !first) return std::nullopt;
      text = absl::StrCat(*stream, "-", *first);
    }
  }
  if (!rest.empty()) return std::nullopt;
  return text;
}

}  // namespace

absl::StatusOr<std::string> KeyOf(const Record& record) {
  const Record::RowCase kind = record.row_case();
  switch (kind) {
    case Record::kQueue:
      return NameKey(kind, record.queue().name());
    case Record::kProducer:
      return NameKey(kind, record.producer().name());
    case Record::kStream:
      return NumbersKey(kind, record.stream().number());
    case Record::kRun:
      return NumbersKey(kind, record.run().stream(), record.run().first());
    case Record::kEnded:
      return NumbersKey(kind, record.ended().stream(), record.ended().first());
    case Record::kReturned:
      return NumbersKey(kind, record.returned().stream(), record.returned().first());
    case Record::kLease:
      return NumbersKey(kind, record.lease().token());
    case Record::kOutcome:
      return NumbersKey(kind, record.outcome().stream(), record.outcome().outcome().first());
    case Record::kGroup:
      return NameKey(kind, record.group().producer(), record.group().group());
    case Record::kJobNames:
      return NumbersKey(kind, record.job_names().stream(), record.job_names().first());
    case Record::kAttempts:
      return NumbersKey(kind, record.attempts().stream(), record.attempts().first());
    case Record::kDead:
      return NumbersKey(kind, record.dead().stream(), record.dead().number());
    case Record::ROW_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("a record has no row that this version knows");
}

std::string KeyOf(const RowKey& row) { return NumbersKey(row.kind, row.stream, row.first); }

std::string KindName(int kind) {
  const auto* field = Record::descriptor()->FindFieldByNumber(kind);
  if (field == nullptr || field->message_type() == nullptr) {
    return absl::StrCat("row of kind ", kind);
  }
  return std::string(field->name());
}

std::string KeyText(std::string_view key) {
  if (key.empty()) return "empty key";
  const int kind = static_cast<uint8_t>(key.front());
  const auto* field = Record::descriptor()->FindFieldByNumber(kind);
  if (field != nullptr && field->message_type() != nullptr) {
    if (const auto fields = FieldsText(kind, key.substr(1))) {
      return absl::StrCat(KindName(kind), " ", *fields);
    }
  }
  return absl::StrCat("key \"", absl::CHexEscape(std::string(key)), "\"");
}

}  // namespace whippletree
