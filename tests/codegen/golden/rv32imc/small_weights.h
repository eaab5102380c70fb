/* Constants of small; internal to small.c. */
#ifndef SMALL_WEIGHTS_H
#define SMALL_WEIGHTS_H

#include <stdint.h>

extern const uint32_t small_0_weights[72];
extern const int32_t small_0_bias[4];
extern const int32_t small_0_multiplier[4];
extern const int8_t small_0_shift[4];
extern const int8_t small_1_weights[36];
extern const int32_t small_1_bias[4];
extern const int8_t small_3_weights[144];
extern const int32_t small_3_bias[3];
extern const int32_t small_3_multiplier[3];
extern const int8_t small_3_shift[3];
extern const int32_t small_4_exponentials[256];

#endif /* SMALL_WEIGHTS_H */
