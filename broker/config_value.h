// How a single setting of the configuration file is written and read.
// The rules are the options of its field in protos/config.proto. Stateless, thread-safe.
#pragma once

#include <absl/status/status.h>

#include <string>

#include "config.pb.h"

namespace whippletree {

using SettingField = google::protobuf::FieldDescriptor;

// Whether `field` is a mapping of further settings; else it is written as one value.
bool IsGroup(const SettingField& field);

// What is expected there: "a size from 1 to 1GiB, as in 64KiB".
std::string ExpectedValue(const SettingField& field);

// Sets the field of `message` from what is written.
// INVALID_ARGUMENT: "\"5\" is not a duration: expected …"; nothing is set then.
// REQUIRES: `field` is one of `message` and no group.
absl::Status SetValue(const std::string& text, const SettingField& field,
                      google::protobuf::Message* message);

// Sets everything of the group `message` that may be none to none, and its switches to false.
void SetNone(google::protobuf::Message* message);

// The field of `message` as it is written; SetValue reads it.
// REQUIRES: as SetValue.
std::string ValueText(const google::protobuf::Message& message, const SettingField& field);

// The same for a setting of a queue that is named as in the file, "retry.backoff".
// REQUIRES: there is such a setting, and it is no group.
absl::Status SetSetting(const std::string& setting, const std::string& text, config::Queue* queue);
std::string SettingText(const std::string& setting, const config::Queue& queue);

}  // namespace whippletree
