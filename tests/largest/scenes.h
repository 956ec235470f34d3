// Every message that a broker gets, at its largest and in its worst shape, and what comes by time:
// the state that it finds, and the event itself. Size is in items of the message, or of the state.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "broker/core/config.h"
#include "tests/largest/world.h"

namespace whippletree::core {

struct Scene {
  std::string name;
  // The most items there can be.
  uint32_t size_max;
  // Makes the state that the event finds in `world`, and the event.
  std::function<Event(World& world, uint32_t size)> build;
  Config config{};
};

// All of them.
std::vector<Scene> Scenes();

// Of one kind each.
std::vector<Scene> ProducerScenes();
std::vector<Scene> GroupScenes();
std::vector<Scene> WorkerScenes();
std::vector<Scene> PeerScenes();
std::vector<Scene> AdminScenes();

}  // namespace whippletree::core
