/* The second stage of the RP2040's boot: its ROM copies the first 256 bytes of flash to RAM, checks their sum and jumps there
   (RP2040 Datasheet, 2.8.1). Flash is mapped by the plain serial read, which every chip knows (4.10; 4.10.13: registers). */
#include <stdint.h>

#define SSI(offset) (*(volatile uint32_t *)(0x18000000u + (offset)))
#define CTRLR0 SSI(0x00u)
#define CTRLR1 SSI(0x04u)
#define SSIENR SSI(0x08u)
#define BAUDR SSI(0x14u)
#define SPI_CTRLR0 SSI(0xF4u)
#define VTOR (*(volatile uint32_t *)0xE000ED08u)
#define VECTORS 0x10000100u

#define FRAMES_OF_32_BITS (31u << 16)
#define EEPROM_READ (3u << 8)
#define READ_DATA (0x03u << 24)
#define COMMAND_OF_8_BITS (2u << 8)
#define ADDRESS_OF_24_BITS (6u << 2)

void utvm_second_stage(void);

__attribute__((used, noreturn)) void utvm_second_stage(void) {
  SSIENR = 0;
  BAUDR = 4; /* 31 MHz at 125 MHz: every chip reads at that rate */
  CTRLR0 = FRAMES_OF_32_BITS | EEPROM_READ;
  SPI_CTRLR0 = READ_DATA | COMMAND_OF_8_BITS | ADDRESS_OF_24_BITS;
  CTRLR1 = 0; /* one frame a read */
  SSIENR = 1;
  VTOR = VECTORS;
  const volatile uint32_t *const vectors = (const volatile uint32_t *)VECTORS;
  __asm__ volatile("msr msp, %0\n bx %1" : : "r"(vectors[0]), "r"(vectors[1]));
  __builtin_unreachable();
}
