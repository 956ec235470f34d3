#include "tests/largest/scenes.h"

#include <iterator>

namespace whippletree::core {

std::vector<Scene> Scenes() {
  std::vector<Scene> all;
  for (const auto& kind : {ProducerScenes, GroupScenes, WorkerScenes, PeerScenes, AdminScenes}) {
    std::vector<Scene> scenes = kind();
    std::move(scenes.begin(), scenes.end(), std::back_inserter(all));
  }
  return all;
}

}  // namespace whippletree::core
