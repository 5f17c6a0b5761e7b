# shellcheck shell=bash disable=SC2034 # used by those that source it
# The boards and the settings by which each is built and run. Other scripts source this file.

boards="aarch64|armv7|armv6|x86_64"

# Sets the variables of a board. `floor` is the oldest glibc that must suffice; if empty, the program is static, with musl. `qemu`
# and `cpu` are the emulator and the smallest processor of that board; `libc` and `root` are Debian's package of its C library and
# the folder of that library.
board() {
  floor=2.31 qemu='' cpu='' libc='' root=/
  case "${1:-}" in
    aarch64)
      target=aarch64-unknown-linux-gnu qemu=aarch64 cpu=cortex-a53
      libc=libc6-arm64-cross root=/usr/aarch64-linux-gnu
      ;;
    armv7)
      target=armv7-unknown-linux-gnueabihf qemu=arm cpu=cortex-a7
      libc=libc6-armhf-cross root=/usr/arm-linux-gnueabihf
      ;;
    armv6) target=arm-unknown-linux-musleabihf floor='' qemu=arm cpu=arm1176 ;;
    x86_64) target=x86_64-unknown-linux-gnu ;;
    *) return 1 ;;
  esac
}

# Prints the glibc version that a program needs, if it needs any. A version above the board's floor is an error.
glibc() {
  local asked
  asked=$(readelf -VW "$1" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1 | cut -d _ -f 2) || true
  if [ -n "$asked" ] && [ "$(printf '%s\n' "$asked" "$floor" | sort -V | tail -1)" != "$floor" ]; then
    echo "$1 asks for glibc $asked; the oldest that has to do is ${floor:-none}" >&2
    return 1
  fi
  echo "$asked"
}

# Installs the packages that are missing.
need() {
  local missing=()
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  echo "install ${missing[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -q=2 && apt-get install -q=2 --no-install-recommends "${missing[@]}"; } >/dev/null
}
