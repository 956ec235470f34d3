# Programs, and the two libraries with a CMake package:
#   find_package(whippletree REQUIRED)
#   target_link_libraries(mine PRIVATE whippletree::worker)
include(CMakePackageConfigHelpers)

install(TARGETS whippletree-broker whippletree-worker whippletree-producer COMPONENT programs)

# "common/time.h" is found beside the header that includes it.
set(headers ${CMAKE_INSTALL_INCLUDEDIR}/whippletree)
install(FILES producer/producer.h worker/worker.h DESTINATION ${headers} COMPONENT libraries)
install(FILES common/time.h DESTINATION ${headers}/common COMPONENT libraries)

set_target_properties(whippletree_producer PROPERTIES EXPORT_NAME producer)
set_target_properties(whippletree_worker PROPERTIES EXPORT_NAME worker)
target_include_directories(whippletree_producer PUBLIC
                           $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_include_directories(whippletree_worker PUBLIC
                           $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
install(TARGETS whippletree_producer whippletree_worker whippletree_producer_session
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
