/* What compiled code may call without asking: memcpy, memmove, memset; and what the host calls: a checksum, and to fill. */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memmove(void *to, const void *from, size_t count);
void *memset(void *to, int value, size_t count);
uint32_t utvm_checksum(const uint8_t *bytes, uint32_t count);
void utvm_fill(uint32_t *words, uint32_t count, uint32_t value);

void *memcpy(void *restrict to, const void *restrict from, size_t count) {
  unsigned char *target = to;
  const unsigned char *source = from;
  while (count--) {
    *target++ = *source++;
  }
  return to;
}

void *memmove(void *to, const void *from, size_t count) {
  unsigned char *target = to;
  const unsigned char *source = from;
  if (target < source) {
    while (count--) {
      *target++ = *source++;
    }
  } else {
    while (count--) {
      target[count] = source[count];
    }
  }
  return to;
}

void *memset(void *to, int value, size_t count) {
  unsigned char *target = to;
  while (count--) {
    *target++ = (unsigned char)value;
  }
  return to;
}

/* CRC-32 (polynomial 0xEDB88320, as zlib computes it), four bits at a time. */
__attribute__((used)) uint32_t utvm_checksum(const uint8_t *bytes, uint32_t count) {
  static const uint32_t table[16] = {
      0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u, 0x4DB26158u, 0x5005713Cu,
      0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu, 0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu,
  };
  uint32_t crc = 0xFFFFFFFFu;
  while (count--) {
    crc ^= *bytes++;
    crc = (crc >> 4) ^ table[crc & 15u];
    crc = (crc >> 4) ^ table[crc & 15u];
  }
  return ~crc;
}

__attribute__((used)) void utvm_fill(uint32_t *words, uint32_t count, uint32_t value) {
  while (count--) {
    *words++ = value;
  }
}
