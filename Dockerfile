# One image per program: docker build --target broker|worker|producer .
# No feature of BuildKit is used, so that the classic builder of older engines can build it too.

# The list of packages lives in ./dev; as a file of its own it keeps the next stage cached until the list changes.
FROM debian:trixie-slim AS packages
COPY dev /tmp/dev
RUN bash /tmp/dev packages build > /build-packages

FROM debian:trixie-slim AS build
COPY --from=packages /build-packages /build-packages
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive xargs apt-get install -y --no-install-recommends < /build-packages \
 && apt-get clean && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cmake --preset release -DBUILD_TESTING=OFF -DCMAKE_INSTALL_PREFIX=/opt/whippletree \
 && cmake --build build/release \
 && cmake --install build/release --strip
# The packages that own the shared libraries in use: what the runtime image installs.
RUN ldd /opt/whippletree/bin/* | awk '$2 == "=>" { print $3 }' | sort -u | xargs realpath | xargs dpkg -S \
    | sed 's/:.*//' | sort -u > /runtime-packages && cat /runtime-packages

FROM debian:trixie-slim AS runtime
COPY --from=build /runtime-packages /runtime-packages
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive xargs apt-get install -y --no-install-recommends < /runtime-packages \
 && apt-get clean && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent \
    --shell /usr/sbin/nologin whippletree
COPY --from=build /opt/whippletree/bin/ /usr/local/bin/
# The queues of `whippletree-producer demo`.
COPY demo/policies.yaml /etc/whippletree/demo.yaml
# A volume that is mounted here begins with this owner.
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/whippletree
RUN ! ldd /usr/local/bin/whippletree-* | grep 'not found'
USER 10001:10001
WORKDIR /tmp
STOPSIGNAL SIGTERM

FROM runtime AS producer
ENTRYPOINT ["whippletree-producer"]
CMD ["--help"]

FROM runtime AS worker
ENTRYPOINT ["whippletree-worker"]
CMD ["--help"]

FROM runtime AS broker
# 7711 door, 7712 submit, 7713 complete, 7780 HTTP: /healthz and /metrics.
EXPOSE 7711 7712 7713 7780
HEALTHCHECK --interval=3s --timeout=3s --start-period=10s --retries=5 \
  CMD ["whippletree-broker", "status", "--broker", "127.0.0.1:7711"]
ENTRYPOINT ["whippletree-broker"]
CMD ["serve", "--host", "0.0.0.0", "--insecure"]
