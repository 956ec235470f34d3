#include "tests/fuzz/grammar.h"

#include "common/run.h"

namespace whippletree::fuzz {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

constexpr int kDepthMax = 5;

}  // namespace

wire::Envelope Grammar::Message(int body) {
  wire::Envelope message;
  const FieldDescriptor* field = wire::Envelope::descriptor()->FindFieldByNumber(body);
  Fill(message.GetReflection()->MutableMessage(&message, field), 1);
  message.set_secret(Unlikely() ? input_->Number() : words_->session.secret);
  FillSecrets(&message);
  return message;
}

void Grammar::Fill(google::protobuf::Message* message, int depth) {
  const Descriptor* type = message->GetDescriptor();
  if (type == wire::Run::descriptor()) return FillRun(static_cast<wire::Run*>(message));
  if (depth > kDepthMax) return;
  for (int i = 0; i < type->field_count(); ++i) {
    if (type->field(i)->containing_oneof() == nullptr) FillField(message, *type->field(i), depth);
  }
  for (int i = 0; i < type->oneof_decl_count(); ++i) {
    const auto* oneof = type->oneof_decl(i);
    const uint32_t choice = input_->Below(static_cast<uint32_t>(oneof->field_count()) + 1);
    if (choice > 0) FillField(message, *oneof->field(static_cast<int>(choice) - 1), depth);
  }
}

void Grammar::FillRun(wire::Run* run) {
  constexpr uint8_t kMany = 0xff;
  constexpr uint32_t kLargeBytes = 70'000;
  const uint8_t count = input_->Byte();
  const uint32_t jobs = count == kMany ? 300 : 1 + count % 4;
  for (uint32_t i = 0; i < jobs; ++i) {
    const uint32_t size = count == kMany ? 1 : input_->Byte();
    AppendToRun(std::string(size == 0xff ? kLargeBytes : size % 16, 'x'), run);
  }
}

void Grammar::FillField(google::protobuf::Message* message, const FieldDescriptor& field,
                        int depth) {
  const auto* of = message->GetReflection();
  const auto set_or_add = [&](auto set, auto add, auto value) {
    if (field.is_repeated()) {
      (of->*add)(message, &field, std::move(value));
    } else {
      (of->*set)(message, &field, std::move(value));
    }
  };
  using Reflection = google::protobuf::Reflection;
  constexpr uint8_t kMany = 0xff;
  const uint8_t repeats = field.is_repeated() ? input_->Byte() : 1;
  for (int left = repeats == kMany ? 100 : repeats % 4; left > 0; --left) {
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        if (field.is_repeated()) {
          Fill(of->AddMessage(message, &field), depth + 1);
        } else if (!Unlikely()) {
          Fill(of->MutableMessage(message, &field), depth + 1);
        }
        break;
      case FieldDescriptor::CPPTYPE_STRING:
        set_or_add(&Reflection::SetString, &Reflection::AddString, TextFor(field));
        break;
      case FieldDescriptor::CPPTYPE_BOOL:
        set_or_add(&Reflection::SetBool, &Reflection::AddBool, input_->Flag());
        break;
      case FieldDescriptor::CPPTYPE_ENUM:
        set_or_add(&Reflection::SetEnumValue, &Reflection::AddEnumValue,
                   static_cast<int>(
                       input_->Below(static_cast<uint32_t>(field.enum_type()->value_count()) + 1)));
        break;
      case FieldDescriptor::CPPTYPE_UINT64:
        set_or_add(&Reflection::SetUInt64, &Reflection::AddUInt64, NumberFor(field));
        break;
      case FieldDescriptor::CPPTYPE_UINT32:
        set_or_add(&Reflection::SetUInt32, &Reflection::AddUInt32,
                   static_cast<uint32_t>(NumberFor(field)));
        break;
      case FieldDescriptor::CPPTYPE_INT32:
        set_or_add(&Reflection::SetInt32, &Reflection::AddInt32,
                   static_cast<int32_t>(NumberFor(field)));
        break;
      default:  // the protocol has no others
        break;
    }
  }
}

uint64_t Grammar::NumberFor(const FieldDescriptor& field) {
  const std::string& name = field.name();
  if (name == "session") return Unlikely() ? input_->Number() : words_->session.number;
  if (name == "token" || name == "leases" || name == "leases_kept") {
    return Unlikely() ? input_->Number() : Pick(words_->tokens);
  }
  if (name == "stream") return Unlikely() ? input_->Number() : Pick(words_->streams);
  return input_->Number();
}

std::string Grammar::TextFor(const FieldDescriptor& field) {
  constexpr size_t kShort = 6;
  constexpr uint32_t kLong = 5000;
  const std::string& name = field.name();
  if (Unlikely()) {
    return input_->Flag() ? std::string(kLong, 'l') : std::string(input_->Bytes(kShort));
  }
  if (name == "queue") return Pick(words_->queues);
  if (name == "name" || name == "worker") return Pick(words_->names);
  return std::string(input_->Bytes(kShort));
}

void Grammar::FillSecrets(wire::Envelope* message) {
  const auto secret_of = [this](uint64_t token) {
    const auto found = words_->secrets.find(token);
    return found == words_->secrets.end() || Unlikely() ? 0 : found->second;
  };
  if (message->has_report()) {
    for (wire::ReportItem& item : *message->mutable_report()->mutable_items()) {
      item.set_secret(secret_of(item.token()));
    }
  }
  if (message->has_hello()) {
    wire::Hello* hello = message->mutable_hello();
    hello->clear_lease_secrets();
    for (const uint64_t token : hello->leases()) hello->add_lease_secrets(secret_of(token));
  }
}

void SetSession(const Session& session, wire::Envelope* message) {
  message->set_secret(session.secret);
  std::vector<const FieldDescriptor*> fields;
  message->GetReflection()->ListFields(*message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->message_type() == nullptr) continue;
    google::protobuf::Message* body = message->GetReflection()->MutableMessage(message, field);
    const FieldDescriptor* number = body->GetDescriptor()->FindFieldByName("session");
    if (number != nullptr) body->GetReflection()->SetUInt64(body, number, session.number);
  }
}

}  // namespace whippletree::fuzz
