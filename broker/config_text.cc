// The part of broker/config.h that writes YAML.
#include <yaml-cpp/yaml.h>

#include <map>

#include "broker/config.h"
#include "broker/config_value.h"

namespace whippletree {
namespace {

// What the message says, as a mapping: block style outside, one line for each group.
void Emit(const google::protobuf::Message& message, bool one_line, YAML::Emitter* out) {
  const google::protobuf::Descriptor& type = *message.GetDescriptor();
  const google::protobuf::Reflection& in = *message.GetReflection();
  *out << (one_line ? YAML::Flow : YAML::Block) << YAML::BeginMap;
  for (int i = 0; i < type.field_count(); ++i) {
    const SettingField& field = *type.field(i);
    if (!in.HasField(message, &field)) continue;
    *out << YAML::Key << std::string(field.name()) << YAML::Value;
    if (IsGroup(field)) {
      Emit(in.GetMessage(message, &field), true, out);
    } else {
      *out << ValueText(message, field);
    }
  }
  *out << YAML::EndMap;
}

}  // namespace

std::string ConfigText(const config::Config& config) {
  YAML::Emitter out;
  out << YAML::BeginMap;
  if (!config.queues().empty()) {
    out << YAML::Key << "queues" << YAML::Value << YAML::BeginMap;
    // In the order of their names; that of the message's map is any.
    const std::map<std::string, config::Queue> queues(config.queues().begin(),
                                                      config.queues().end());
    for (const auto& [name, settings] : queues) {
      out << YAML::Key << name << YAML::Value;
      Emit(settings, false, &out);
    }
    out << YAML::EndMap;
  }
  if (config.has_defaults()) {
    out << YAML::Key << "defaults" << YAML::Value;
    Emit(config.defaults(), false, &out);
  }
  if (config.has_unknown_queues()) {
    const SettingField& field = *config.GetDescriptor()->FindFieldByName("unknown_queues");
    out << YAML::Key << "unknown_queues" << YAML::Value << ValueText(config, field);
  }
  out << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

}  // namespace whippletree
