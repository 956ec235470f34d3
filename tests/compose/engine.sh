# shellcheck shell=bash
# Sourced by ./dev, whose helpers it uses: a Docker engine, a compose, and the base image for the compose test.
# What is there is used as it is; with CI=true what is missing is installed and started, else it is a reason to skip.

engine_pid=''
engine_dir=''

engine_answers() {
  command -v docker >/dev/null && timeout 20 docker info >/dev/null 2>&1
}

# Leaves `docker` and a compose usable, or skips.
start_engine() {
  if [[ ${CI:-} == true ]]; then
    install_engine
    engine_answers || start_dockerd
  fi
  command -v docker >/dev/null || skip 'no docker here (packages docker.io and docker-compose)'
  engine_answers || skip 'no Docker engine answers (started, and may this user use it?)'
  docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null ||
    skip 'neither "docker compose" nor "docker-compose" is here'
  docker version --format 'engine {{.Server.Version}}, client {{.Client.Version}}'
}

install_engine() {
  local wanted=()
  engine_answers || wanted+=(docker.io)
  docker compose version >/dev/null 2>&1 || wanted+=(docker-compose)
  ((${#wanted[@]} == 0)) || install_packages "${wanted[@]}"
  # Newer Debian has the client in a package of its own.
  command -v docker >/dev/null || install_packages docker-cli
}

# Starts dockerd by hand, as a CI machine may have no service manager. Its run-time state goes to a
# directory of its own, so that leftovers of an earlier life of the machine cannot stop it.
start_dockerd() {
  mkdir -p build/logs
  engine_dir=$(mktemp -d /tmp/whippletree-docker.XXXXXX)
  as_root dockerd --exec-root "$engine_dir/exec" --pidfile "$engine_dir/pid" >build/logs/dockerd.log 2>&1 &
  engine_pid=$!
  local tries
  for ((tries = 0; tries < 60; tries++)); do
    if engine_answers; then return; fi
    kill -0 "$engine_pid" 2>/dev/null || break
    sleep 0.5
  done
  tail -n 20 build/logs/dockerd.log
  die 'dockerd did not start (build/logs/dockerd.log)'
}

# Ends the engine that start_dockerd started, and only that.
stop_engine() {
  [[ -n $engine_pid ]] || return 0
  # The pid file names dockerd itself; $engine_pid is the shell (or sudo) that waits for it.
  as_root kill "$(cat "$engine_dir/pid")" 2>/dev/null || true
  wait "$engine_pid" 2>/dev/null || true
  as_root rm -rf "$engine_dir" || true
  engine_pid=''
}

# Has debian:trixie-slim: pulled, or made from Debian's packages where no image registry is reached.
provide_base_image() {
  local image=debian:trixie-slim root
  docker image inspect "$image" >/dev/null 2>&1 && return
  if timeout 120 docker pull --quiet "$image"; then return; fi
  if ! command -v debootstrap >/dev/null; then
    [[ ${CI:-} == true ]] || skip "$image cannot be pulled, and there is no debootstrap to make it"
    install_packages debootstrap
  fi
  echo "making $image with debootstrap"
  root=$(mktemp -d /tmp/whippletree-base.XXXXXX)
  # shellcheck disable=SC2046  # no mirror known: debootstrap has its own default
  as_root debootstrap --variant=minbase trixie "$root" $(debian_mirror)
  # How this machine reaches the packages (a proxy, say) holds for builds in the image as well.
  apt-config dump | grep -E '^Acquire::(https?|ftp|Check-|Retries)' |
    as_root tee "$root/etc/apt/apt.conf.d/99host" >/dev/null || true
  as_root tar -C "$root" -c . | docker import --change 'CMD ["bash"]' - "$image"
  as_root rm -rf "$root"
}

# The mirror that this machine's own apt uses for Debian; nothing on another system.
debian_mirror() {
  # shellcheck disable=SC2016  # apt-get expands these itself
  apt-get indextargets --format '$(ORIGIN) $(LABEL) $(SITE) $(REPO_URI)' 2>/dev/null |
    awk '$1 == "Debian" && $2 == "Debian" { print $NF; exit }'
}
