# Programs, and the libraries with a CMake package:
#   find_package(whippletree REQUIRED)
#   target_link_libraries(mine PRIVATE whippletree::worker)
include(CMakePackageConfigHelpers)

install(TARGETS whippletree-broker whippletree-worker whippletree-producer COMPONENT programs)

# A header finds those that it includes beside itself, by the names that they have in the sources.
set(headers ${CMAKE_INSTALL_INCLUDEDIR}/whippletree)
install(FILES producer/mapreduce.h producer/producer.h worker/worker.h
        DESTINATION ${headers} COMPONENT libraries)
install(FILES common/clock.h common/time.h DESTINATION ${headers}/common COMPONENT libraries)
foreach(header producer/producer.h common/common/time.h)
  get_filename_component(dir ${header} DIRECTORY)
  get_filename_component(name ${header} NAME)
  set(forward ${CMAKE_CURRENT_BINARY_DIR}/installed/${header})
  file(WRITE ${forward} "#pragma once\n#include \"../${name}\"\n")
  install(FILES ${forward} DESTINATION ${headers}/${dir} COMPONENT libraries)
endforeach()

set_target_properties(whippletree_producer PROPERTIES EXPORT_NAME producer)
set_target_properties(whippletree_worker PROPERTIES EXPORT_NAME worker)
set_target_properties(whippletree_mapreduce PROPERTIES EXPORT_NAME mapreduce)
foreach(library whippletree_producer whippletree_worker)
  target_include_directories(${library} PUBLIC $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_compile_features(${library} PUBLIC cxx_std_20)  # their headers need it
endforeach()
install(TARGETS whippletree_producer whippletree_mapreduce whippletree_worker whippletree_producer_session
                whippletree_worker_session whippletree_io whippletree_common whippletree_protos
        EXPORT whippletree_targets COMPONENT libraries)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/whippletree)
install(EXPORT whippletree_targets NAMESPACE whippletree:: DESTINATION ${package}
        FILE whippletreeTargets.cmake COMPONENT libraries)
configure_package_config_file(cmake/whippletreeConfig.cmake.in whippletreeConfig.cmake
                              INSTALL_DESTINATION ${package})
write_basic_package_version_file(whippletreeConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/whippletreeConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/whippletreeConfigVersion.cmake
        DESTINATION ${package} COMPONENT libraries)
