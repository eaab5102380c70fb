/* The models of a firmware, by one description each. Those without state share one arena: one runs at a time. */
#ifndef UTVM_MODELS_H
#define UTVM_MODELS_H

#include <stdint.h>

typedef struct {
  const char *name;
  void *(*place)(void *arena);
  uint32_t elements;
  uint32_t element_bytes;
  int32_t zero_point;
  float scale; /* 0 where elements are not quantised */
  int32_t is_unsigned;
} utvm_port;

typedef struct {
  const char *name;
  const char *summary;
  uint32_t arena_bytes;
  uint32_t flash_bytes;
  uint32_t stack_bytes;
  const utvm_port *inputs;
  const utvm_port *outputs;
  int32_t input_count;
  int32_t output_count;
  int32_t (*run)(void *arena);
  int32_t (*reset)(void *arena); /* null where nothing is kept from run to run */
  uint8_t *arena;
} utvm_model;

extern const utvm_model utvm_models[];
extern const int32_t utvm_model_count;

#endif
