/*
 * small: an int8 network as plain C.
 * 5 kernel calls, arena 436 bytes, constants 1571 bytes; core cortex-m3
 */
#ifndef SMALL_H
#define SMALL_H

#include <stdint.h>

/* Working memory that the caller provides; inputs and outputs live in it. */
#define SMALL_ARENA_BYTES 436
#define SMALL_ARENA_ALIGNMENT 16

/* input 'x': int8[1, 6, 6, 4] */
#define SMALL_INPUT_0_OFFSET 40
#define SMALL_INPUT_0_ELEMENTS 144
#define SMALL_INPUT_0_BYTES 144
#define SMALL_INPUT_0_SCALE 0.10000000149011612f
#define SMALL_INPUT_0_ZERO_POINT (-3)

/* output 'y': int8[1, 3] */
#define SMALL_OUTPUT_0_OFFSET 0
#define SMALL_OUTPUT_0_ELEMENTS 3
#define SMALL_OUTPUT_0_BYTES 3
#define SMALL_OUTPUT_0_SCALE 0.00390625f
#define SMALL_OUTPUT_0_ZERO_POINT (-128)

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Run the network once. Inputs are read from the arena, outputs are left in it; both are
 * overwritten
 * by the next run. Returns 0.
 */
int32_t small_run(uint8_t *arena);

#ifdef __cplusplus
}
#endif

#endif /* SMALL_H */
