// Runs the SoC: a remote_bitbang server (OpenOCD's protocol for JTAG pins) on a loopback port that the system chooses,
// and a way to fill RAM past the pins, on the Unix socket that the command line names.
//
// Prints "READY port". Simulated time passes with the edges of TCK and while the core runs; it stands still while the
// core is halted or no debugger is connected. Ends when who has connected to the Unix socket hangs up.
//
// The Unix socket takes fills: 'W', address, length (32 bits each, little-endian), bytes. The answer is one letter: 'K'
// done, 'E' the core runs or there is no RAM.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "Vsoc.h"
#include "Vsoc___024root.h"

namespace {

constexpr uint32_t kRamBase = 0x80000000u;
constexpr int kCyclesPerCommand = 1000;
constexpr int kCyclesPerLook = 4000;  // about 2 ms between looks at the pins while the core runs

class Soc {
 public:
  Soc() {
    top_.trst_ni = top_.rst_ni = top_.tms_i = 1;
    top_.eval();
    reset(true, true);
    reset(false, false);
  }

  bool halted() const { return top_.halted_o; }

  void clock(int cycles) {
    while (cycles--) {
      top_.clk_i = 1;
      top_.eval();
      top_.clk_i = 0;
      top_.eval();
    }
  }

  // One letter of the protocol; returns the letter to answer, or 0.
  char pins(char letter) {
    if (letter >= '0' && letter <= '7') {
      const int levels = letter - '0';
      const bool rises = (levels & 4) && !top_.tck_i;
      top_.tdi_i = levels & 1;
      top_.tms_i = levels >> 1 & 1;
      top_.tck_i = levels >> 2 & 1;
      if (rises) {
        clock(1);
        finish_command();
      } else {
        top_.eval();
      }
    } else if (letter == 'R') {
      return top_.tdo_o ? '1' : '0';
    } else if (letter >= 'r' && letter <= 'u') {
      reset((letter - 'r') & 2, (letter - 'r') & 1);
    }
    return 0;
  }

  bool fill(uint32_t address, const std::vector<uint8_t> &bytes) {
    auto &ram = top_.rootp->soc__DOT__ram;
    const uint64_t size = sizeof ram, start = uint64_t{address} - kRamBase;
    if (!halted() || address < kRamBase || start + bytes.size() > size) return false;
    std::memcpy(reinterpret_cast<uint8_t *>(&ram[0]) + start, bytes.data(), bytes.size());
    return true;
  }

 private:
  // The clock of a chip is many times faster than TCK: a command of the debug module is over before the next edge. (While
  // commands last longer OpenOCD 0.12 loses data that it writes through programs in the debug module's buffer.)
  void finish_command() {
    for (int i = 0; top_.busy_o && i < kCyclesPerCommand; i++) clock(1);
  }

  void reset(bool jtag, bool system) {
    top_.trst_ni = !jtag;
    top_.rst_ni = !system;
    top_.eval();
    clock(10);
  }

  Vsoc top_;
};

[[noreturn]] void fail(const char *what) {
  std::perror(what);
  std::exit(1);
}

bool read_all(int file, void *to, size_t count) {
  auto *bytes = static_cast<uint8_t *>(to);
  while (count) {
    const ssize_t got = read(file, bytes, count);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    bytes += got;
    count -= got;
  }
  return true;
}

bool write_all(int file, const void *from, size_t count) {
  const auto *bytes = static_cast<const uint8_t *>(from);
  while (count) {
    const ssize_t put = write(file, bytes, count);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    bytes += put;
    count -= put;
  }
  return true;
}

// Serves one fill; false when the other end has hung up.
bool serve_fill(Soc &soc, int control) {
  uint8_t head[9];
  if (!read_all(control, head, sizeof head) || head[0] != 'W') return false;
  uint32_t address, length;
  std::memcpy(&address, head + 1, 4);
  std::memcpy(&length, head + 5, 4);
  std::vector<uint8_t> bytes(length);
  if (!read_all(control, bytes.data(), length)) return false;
  const char answer = soc.fill(address, bytes) ? 'K' : 'E';
  return write_all(control, &answer, 1);
}

// Serves the letters that have arrived; false when the debugger has gone.
bool serve_pins(Soc &soc, int debugger) {
  char letters[1 << 16], answers[1 << 16];
  const ssize_t count = read(debugger, letters, sizeof letters);
  if (count < 0 && errno == EINTR) return true;
  if (count <= 0) return false;
  size_t answered = 0;
  for (ssize_t i = 0; i < count; i++) {
    if (letters[i] == 'Q') return false;
    if (const char answer = soc.pins(letters[i])) answers[answered++] = answer;
  }
  return write_all(debugger, answers, answered);
}

int listen_at(const char *path) {
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  if (listener < 0 || bind(listener, reinterpret_cast<sockaddr *>(&address), sizeof address) || listen(listener, 1)) {
    fail(path);
  }
  return listener;
}

int listen_on_loopback() {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (listener < 0 || bind(listener, reinterpret_cast<sockaddr *>(&address), size) || listen(listener, 1)) {
    fail("the loopback port");
  }
  if (getsockname(listener, reinterpret_cast<sockaddr *>(&address), &size)) fail("the loopback port");
  std::printf("READY %d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  return listener;
}

int accept_debugger(int listener) {
  const int client = accept(listener, nullptr, nullptr);
  const int on = 1;
  if (client >= 0) setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return client;
}

}  // namespace

int main(int count, char **arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: %s PATH_OF_CONTROL_SOCKET\n", arguments[0]);
    return 2;
  }
  std::signal(SIGPIPE, SIG_IGN);
  Soc soc;
  const int controls = listen_at(arguments[1]), debuggers = listen_on_loopback();
  int control = -1, debugger = -1;
  while (true) {
    const bool runs = debugger >= 0 && !soc.halted();
    pollfd watched[] = {{control >= 0 ? control : controls, POLLIN, 0}, {debugger >= 0 ? debugger : debuggers, POLLIN, 0}};
    if (poll(watched, 2, runs ? 0 : -1) < 0 && errno != EINTR) fail("poll");
    if (watched[0].revents) {
      if (control < 0) {
        control = accept(controls, nullptr, nullptr);
      } else if (!serve_fill(soc, control)) {
        return 0;
      }
    }
    if (watched[1].revents) {
      if (debugger < 0) {
        debugger = accept_debugger(debuggers);
      } else if (!serve_pins(soc, debugger)) {
        close(debugger);
        debugger = -1;
      }
    } else if (runs) {
      soc.clock(kCyclesPerLook);
    }
  }
}
