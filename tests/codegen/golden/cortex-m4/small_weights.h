/* Constants of small; internal to small.c. */
#ifndef SMALL_WEIGHTS_H
#define SMALL_WEIGHTS_H

#include <stdint.h>

extern const int32_t small_0_stream[86];
extern const int32_t small_1_stream[40];
extern const int32_t small_3_stream[66];
extern const int32_t small_4_exponentials[256];

#endif /* SMALL_WEIGHTS_H */
