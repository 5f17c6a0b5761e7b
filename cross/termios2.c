// QEMU before version 10.2 does not know TCGETS2 and TCSETS2, which set a serial port's speed. For emulated programs this file
// replaces them by TCGETS and TCSETS. Those cannot set every speed, but a pseudo-terminal has none.
#include <asm/termbits.h>
#include <asm/ioctls.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int ioctl(int file, unsigned long request, ...) {
  va_list arguments;
  va_start(arguments, request);
  void *argument = va_arg(arguments, void *);
  va_end(arguments);
  struct termios old;
  if (request == TCGETS2) {
    if (syscall(SYS_ioctl, file, TCGETS, &old)) return -1;
    memset(argument, 0, sizeof(struct termios2));
    memcpy(argument, &old, sizeof old);
    return 0;
  }
  if (request == TCSETS2) {
    memcpy(&old, argument, sizeof old);
    return syscall(SYS_ioctl, file, TCSETS, &old);
  }
  return syscall(SYS_ioctl, file, request, argument);
}
