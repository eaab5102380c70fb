/* What the boot ROM of an RP2350 looks for in the first 4 KB of flash: the smallest block that makes it an image for the
   Cortex-M33 in secure state, with its vectors at the start (RP2350 Datasheet, 5.9.5.1). */
#include <stdint.h>

#define BLOCK_START 0xFFFFDED3u
#define IMAGE_TYPE 0x42u
#define LAST_ITEM 0xFFu
#define EXECUTABLE_SECURE_ARM_RP2350 0x1021u
#define ITEM_WORDS 1u
#define BLOCK_END 0xAB123579u

extern const uint32_t utvm_image_definition[5];

__attribute__((used, section(".image_definition"))) const uint32_t utvm_image_definition[5] = {
    BLOCK_START,
    EXECUTABLE_SECURE_ARM_RP2350 << 16 | ITEM_WORDS << 8 | IMAGE_TYPE,
    ITEM_WORDS << 8 | LAST_ITEM,
    0, /* the next block of the loop: itself */
    BLOCK_END,
};
