/* Characters in and out, numbers, time. */
#ifndef UTVM_CONSOLE_H
#define UTVM_CONSOLE_H

#include <stdint.h>

/* Clocks and pins, from the board's description; returns 0, or the number of the wait that did not end. */
uint32_t console_setup(void);

void console_open(void);
void console_put(char c);
char console_get(void);

void console_text(const char *text);
void console_signed(int32_t value);
void console_unsigned(uint64_t value);
void console_hex(uint8_t byte);

/* A moment off the bus, for loops that wait for a register: whoever else needs the bus (an emulator's own thread) gets it. */
void console_pause(void);

/* Ticks of UTVM_TICKS_HZ since the start. */
uint64_t console_ticks(void);

/* The value of a hexadecimal digit, or -1. */
int32_t console_digit(char c);

/* Read a decimal number at *text and move *text behind it; -1 if there is none. Skips spaces before it. */
int32_t console_number(const char **text);

/* Whether *text begins with a word, with a space or the end behind it; then moves *text behind it and its spaces. */
int32_t console_word(const char **text, const char *word);

#endif
