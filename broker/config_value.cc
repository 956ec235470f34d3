#include "broker/config_value.h"

#include <absl/strings/ascii.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "common/check.h"
#include "common/cli.h"
#include "common/printable.h"

namespace whippletree {
namespace {

using google::protobuf::Message;

constexpr char kNone[] = "none";
constexpr uint64_t kRateCountMax = 1'000'000'000;
constexpr size_t kShownBytesMax = 60;  // of a wrong value in an error

constexpr std::pair<const char*, Duration> kPeriods[] = {
    {"s", seconds(1)}, {"min", std::chrono::minutes(1)}, {"h", std::chrono::hours(1)}};

const config::Setting& Rules(const SettingField& field) {
  return field.options().GetExtension(config::setting);
}

// A noun for "… is not a duration".
const char* Noun(config::Kind kind) {
  switch (kind) {
    case config::NUMBER:
      return "a whole number";
    case config::BYTES:
      return "a size";
    case config::DURATION:
      return "a duration";
    case config::RATIO:
      return "a ratio";
    case config::RATE:
      return "a rate";
    case config::BACKOFF:
      return "a back-off";
    default:
      return "known here";
  }
}

std::string Bounds(const config::Setting& rules) {
  if (rules.max().empty()) return absl::StrCat(" of at least ", rules.min());
  return absl::StrCat(" from ", rules.min(), " to ", rules.max());
}

// A number, size or duration as its field holds it.
std::optional<uint64_t> ParseScalar(config::Kind kind, const std::string& text) {
  if (kind == config::BYTES) {
    const auto size = ParseByteSize(text);
    return size.ok() ? std::optional<uint64_t>(*size) : std::nullopt;
  }
  if (kind == config::DURATION) {
    const auto duration = ParseDuration(text);
    return duration.ok() ? std::optional<uint64_t>(duration->count()) : std::nullopt;
  }
  uint64_t number = 0;
  const bool digits = text.find_first_not_of("0123456789") == std::string::npos;
  return digits && absl::SimpleAtoi(text, &number) ? std::optional<uint64_t>(number) : std::nullopt;
}

bool IsZero(const std::string& digits) {
  return !digits.empty() && digits.find_first_not_of('0') == std::string::npos;
}

enum class Verdict { kGood, kOtherKind, kOutOfRange, kOtherUnit, kNoUnit, kStops };

// "50/s", "10 jobs/min", "2 batches/s", with blanks wherever one likes.
Verdict ParseRate(const std::string& text, config::Rate* rate) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  if (text.compare(digits, 1, ".") == 0) return Verdict::kOtherKind;
  if (IsZero(text.substr(0, digits))) return Verdict::kStops;
  if (digits > 0 && digits == text.size()) return Verdict::kNoUnit;
  const size_t slash = text.find('/');
  if (digits == 0 || slash == std::string::npos) return Verdict::kOtherKind;
  const auto part = [&](size_t begin, size_t end) {
    return std::string(absl::StripAsciiWhitespace(text.substr(begin, end - begin)));
  };
  const std::string unit = part(digits, slash);
  const std::string period = part(slash + 1, text.size());
  const bool batches = unit == "batches" || unit == "batch";
  if (!batches && !unit.empty() && unit != "jobs" && unit != "job") return Verdict::kOtherKind;
  const auto* known = std::find_if(std::begin(kPeriods), std::end(kPeriods),
                                   [&](const auto& entry) { return entry.first == period; });
  if (known == std::end(kPeriods)) return Verdict::kOtherKind;
  uint64_t count = 0;
  if (!absl::SimpleAtoi(text.substr(0, digits), &count) || count > kRateCountMax) {
    return Verdict::kOutOfRange;
  }
  rate->set_count(count);
  rate->set_period(known->second.count());
  rate->set_of_batches(batches);
  return Verdict::kGood;
}

// "1s..5m", with blanks and a third dot for those who like these.
Verdict ParseBackoff(const std::string& text, config::Backoff* backoff) {
  const size_t dots = text.find("..");
  if (dots == std::string::npos) return Verdict::kOtherKind;
  const size_t behind = text.find_first_not_of('.', dots);
  if (behind == std::string::npos || behind - dots > 3) return Verdict::kOtherKind;
  const auto part = [](std::string_view some) {
    return ParseDuration(std::string(absl::StripAsciiWhitespace({some.data(), some.size()})));
  };
  const auto min = part(std::string_view(text).substr(0, dots));
  const auto max = part(std::string_view(text).substr(behind));
  if (!min.ok() || !max.ok()) return Verdict::kOtherKind;
  if (*min > *max) return Verdict::kOutOfRange;
  backoff->set_min(min->count());
  backoff->set_max(max->count());
  return Verdict::kGood;
}

void SetNumber(uint64_t value, const SettingField& field, Message* message) {
  const google::protobuf::Reflection& to = *message->GetReflection();
  if (field.cpp_type() == SettingField::CPPTYPE_INT64) {
    to.SetInt64(message, &field, static_cast<int64_t>(value));
  } else {
    to.SetUInt64(message, &field, value);
  }
}

Verdict SetRatio(const std::string& text, const SettingField& field, Message* message) {
  double ratio = 0;
  const bool number = text.find_first_not_of("0123456789.") == std::string::npos;
  if (!number || !absl::SimpleAtod(text, &ratio)) return Verdict::kOtherKind;
  if (!(ratio > 0 && ratio <= 1)) return Verdict::kOutOfRange;
  message->GetReflection()->SetDouble(message, &field, ratio);
  return Verdict::kGood;
}

Verdict SetChoice(const std::string& text, const SettingField& field, Message* message) {
  const auto* choice = field.enum_type()->FindValueByName(absl::AsciiStrToUpper(text));
  if (choice == nullptr || text != absl::AsciiStrToLower(text)) return Verdict::kOtherKind;
  message->GetReflection()->SetEnum(message, &field, choice);
  return Verdict::kGood;
}

Verdict SetSwitch(const std::string& text, const SettingField& field, Message* message) {
  if (text != "true" && text != "false") return Verdict::kOtherKind;
  message->GetReflection()->SetBool(message, &field, text == "true");
  return Verdict::kGood;
}

Verdict SetScalar(const std::string& text, const SettingField& field, Message* message) {
  const config::Setting& rules = Rules(field);
  const auto value = ParseScalar(rules.kind(), text);
  if (!value) {
    const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
    if (!digits) return Verdict::kOtherKind;
    // More digits than 64 bits can count are still a number.
    return rules.kind() == config::DURATION ? Verdict::kNoUnit : Verdict::kOutOfRange;
  }
  const auto bound = [&](const std::string& written, uint64_t otherwise) {
    return ParseScalar(rules.kind(), written).value_or(otherwise);
  };
  if (*value < bound(rules.min(), 0) ||
      *value > bound(rules.max(), std::numeric_limits<uint64_t>::max())) {
    return Verdict::kOutOfRange;
  }
  SetNumber(*value, field, message);
  return Verdict::kGood;
}

void SetFieldNone(const SettingField& field, Message* message) {
  const google::protobuf::Reflection& to = *message->GetReflection();
  if (Rules(field).kind() == config::RATE) {
    auto* rate = dynamic_cast<config::Rate*>(to.MutableMessage(message, &field));
    WT_CHECK(rate != nullptr);
    rate->set_count(0);
    rate->set_period(Duration(seconds(1)).count());
    rate->set_of_batches(false);
  } else if (Rules(field).kind() == config::SWITCH) {
    to.SetBool(message, &field, false);
  } else if (field.cpp_type() == SettingField::CPPTYPE_DOUBLE) {
    to.SetDouble(message, &field, 0);
  } else {
    SetNumber(0, field, message);
  }
}

std::string RateText(const config::Rate& rate) {
  if (rate.count() == 0) return kNone;
  for (const auto& [name, period] : kPeriods) {
    if (rate.period() == Duration(period).count()) {
      return absl::StrCat(rate.count(), rate.of_batches() ? " batches/" : "/", name);
    }
  }
  WT_CHECK(false && "no unit has this period");
}

// As short as it can be without becoming another number.
std::string RatioText(double ratio) {
  std::array<char, 400> text{};  // the smallest has some 330 digits
  const auto end =
      std::to_chars(text.data(), text.data() + text.size(), ratio, std::chars_format::fixed);
  return std::string(text.data(), end.ptr);
}

std::string DurationText(int64_t ns) { return FormatDuration(Duration(ns)); }

}  // namespace

bool IsGroup(const SettingField& field) { return Rules(field).kind() == config::GROUP; }

std::string ExpectedValue(const SettingField& field) {
  const config::Setting& rules = Rules(field);
  std::string expected;
  switch (rules.kind()) {
    case config::GROUP:
      expected = absl::StrCat("settings, as in {", field.message_type()->field(0)->name(), ": …}");
      break;
    case config::NUMBER:
      expected = absl::StrCat(Noun(rules.kind()), Bounds(rules));
      break;
    case config::DURATION:
      expected = absl::StrCat(Noun(rules.kind()), Bounds(rules), ", as in 500ms, 30s or 5m");
      break;
    case config::BYTES:
      expected = absl::StrCat(Noun(rules.kind()), Bounds(rules), ", as in 64KiB");
      break;
    case config::RATIO:
      expected = "a number above 0, at most 1, as in 0.5";
      break;
    case config::RATE:
      expected = rules.of_jobs()
                     ? "a whole number of jobs per s, min or h, as in 50/s or 300/min"
                     : "a whole number per s, min or h, as in 50/s, 300/min or \"2 batches/s\"";
      break;
    case config::BACKOFF:
      expected = "the least and the most, as in 1s..5m";
      break;
    case config::SWITCH:
      expected = "true or false";
      break;
    default: {
      std::vector<std::string> names;
      for (int i = 0; i < field.enum_type()->value_count(); ++i) {
        names.push_back(absl::AsciiStrToLower(field.enum_type()->value(i)->name()));
      }
      expected = absl::StrJoin(names, " or ");
    }
  }
  return rules.none() ? expected + ", or none" : expected;
}

absl::Status SetValue(const std::string& text, const SettingField& field, Message* message) {
  const config::Setting& rules = Rules(field);
  WT_CHECK(rules.kind() != config::GROUP);
  if (rules.none() && text == kNone) {
    SetFieldNone(field, message);
    return absl::OkStatus();
  }
  Verdict verdict = Verdict::kOtherKind;
  if (rules.kind() == config::RATE) {
    config::Rate rate;
    verdict = ParseRate(text, &rate);
    if (verdict == Verdict::kGood && rate.of_batches() && rules.of_jobs()) {
      verdict = Verdict::kOtherUnit;
    }
    if (verdict == Verdict::kGood) {
      message->GetReflection()->MutableMessage(message, &field)->CopyFrom(rate);
    }
  } else if (rules.kind() == config::BACKOFF) {
    config::Backoff backoff;
    verdict = ParseBackoff(text, &backoff);
    if (verdict == Verdict::kGood) {
      message->GetReflection()->MutableMessage(message, &field)->CopyFrom(backoff);
    }
  } else if (rules.kind() == config::RATIO) {
    verdict = SetRatio(text, field, message);
  } else if (rules.kind() == config::CHOICE) {
    verdict = SetChoice(text, field, message);
  } else if (rules.kind() == config::SWITCH) {
    verdict = SetSwitch(text, field, message);
  } else {
    verdict = SetScalar(text, field, message);
  }
  if (verdict == Verdict::kGood) return absl::OkStatus();
  std::string wrong = absl::StrCat(" is not ", Noun(rules.kind()));
  if (verdict == Verdict::kOutOfRange) wrong = " is out of range";
  if (verdict == Verdict::kOtherUnit) wrong = " counts batches; this rate counts jobs";
  if (verdict == Verdict::kNoUnit) wrong = " has no unit";
  if (verdict == Verdict::kStops) {
    wrong = " would start nothing (whippletree-broker pause stops a queue)";
  }
  return absl::InvalidArgumentError(
      absl::StrCat(Quoted(text, kShownBytesMax), wrong, ": expected ", ExpectedValue(field)));
}

void SetNone(Message* message) {
  const google::protobuf::Descriptor& type = *message->GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const config::Setting& rules = Rules(*type.field(i));
    if (rules.none() || rules.kind() == config::SWITCH) SetFieldNone(*type.field(i), message);
  }
}

std::string ValueText(const Message& message, const SettingField& field) {
  const google::protobuf::Reflection& from = *message.GetReflection();
  const config::Setting& rules = Rules(field);
  const auto number = [&]() -> uint64_t {
    return field.cpp_type() == SettingField::CPPTYPE_INT64
               ? static_cast<uint64_t>(from.GetInt64(message, &field))
               : from.GetUInt64(message, &field);
  };
  switch (rules.kind()) {
    case config::NUMBER:
      return rules.none() && number() == 0 ? kNone : absl::StrCat(number());
    case config::BYTES:
      return rules.none() && number() == 0 ? kNone : FormatByteSize(number());
    case config::DURATION:
      return rules.none() && number() == 0 ? kNone : DurationText(static_cast<int64_t>(number()));
    case config::RATIO: {
      const double ratio = from.GetDouble(message, &field);
      return ratio == 0 ? kNone : RatioText(ratio);
    }
    case config::RATE:
      return RateText(dynamic_cast<const config::Rate&>(from.GetMessage(message, &field)));
    case config::BACKOFF: {
      const auto& backoff = dynamic_cast<const config::Backoff&>(from.GetMessage(message, &field));
      return absl::StrCat(DurationText(backoff.min()), "..", DurationText(backoff.max()));
    }
    case config::SWITCH:
      return from.GetBool(message, &field) ? "true" : "false";
    case config::CHOICE:
      return absl::AsciiStrToLower(from.GetEnum(message, &field)->name());
    default:
      WT_CHECK(false && "a group has no text");
  }
}

namespace {

// Where a queue has a setting that is named as in the file.
struct Place {
  const SettingField* group = nullptr;  // null: the queue itself
  const SettingField* field = nullptr;
};

Place PlaceOf(const std::string& setting) {
  const size_t dot = setting.find('.');
  const google::protobuf::Descriptor* type = config::Queue::descriptor();
  Place place;
  if (dot != std::string::npos) {
    place.group = type->FindFieldByName(setting.substr(0, dot));
    WT_CHECK(place.group != nullptr && IsGroup(*place.group));
    type = place.group->message_type();
  }
  place.field = type->FindFieldByName(setting.substr(dot == std::string::npos ? 0 : dot + 1));
  WT_CHECK(place.field != nullptr);
  return place;
}

}  // namespace

absl::Status SetSetting(const std::string& setting, const std::string& text, config::Queue* queue) {
  const auto [group, field] = PlaceOf(setting);
  return SetValue(text, *field,
                  group == nullptr ? queue : queue->GetReflection()->MutableMessage(queue, group));
}

std::string SettingText(const std::string& setting, const config::Queue& queue) {
  const auto [group, field] = PlaceOf(setting);
  if (group == nullptr) return ValueText(queue, *field);
  return ValueText(queue.GetReflection()->GetMessage(queue, group), *field);
}

}  // namespace whippletree
