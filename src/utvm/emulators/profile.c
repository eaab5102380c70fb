/* QEMU TCG plugin: counts what a program executes, into a file that the host maps.
 *
 * Argument: shared=PATH of at least sizeof(struct shared) bytes. Counted are executed instructions; how often control
 * went from one translated block to another (edges); misaligned accesses; and, where the host describes caches and the
 * address ranges behind them, what misses. The host starts a new count by raising `epoch` while the machine is stopped.
 * The declarations follow QEMU's plugin interface, version 1 (docs/devel/tcg-plugins.rst). */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_RW = 3 };
typedef void (*memory_callback)(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *data);

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                                  void (*callback)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, void (*callback)(unsigned, void *),
                                                 enum qemu_plugin_cb_flags flags, void *data);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *block, enum qemu_plugin_op op,
                                                     void *counter, uint64_t addend);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *instruction, memory_callback callback,
                                             enum qemu_plugin_cb_flags flags, enum qemu_plugin_mem_rw rw, void *data);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *block);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *instruction);
extern unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t info);
extern _Bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t info);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv);

/* Shared with the host: emulators/counters.py describes the same layout. */
enum { RANGES = 8, EDGES = 1 << 18, MAX_LINES = 4096, MAX_WAYS = 8 };

struct range { /* Addresses that one bus serves; `cached` accesses go through the data (and instruction) cache. */
  uint32_t start, end, cached, pad;
  uint64_t reads, writes, read_misses, write_misses, sequential_read_misses, fetches, fetch_misses,
      sequential_fetch_misses;
};

struct geometry { /* A cache of sets * ways lines; no cache if `sets` is 0. */
  uint32_t line_bytes, sets, ways, pad;
};

struct edge { /* `count` times control went from block (from, from_length) to block (to, to_length). */
  uint32_t from, from_length, to, to_length;
  uint64_t count;
  uint32_t next, pad;
};

struct shared {
  uint64_t instructions;
  uint64_t epoch, seen;
  uint64_t odd_halfword, word_at_2, word_at_odd, crosses_word, unaligned_load, unaligned_store;
  uint64_t edge_count, lost;
  uint32_t range_count, pad;
  struct geometry instruction_cache, data_cache;
  struct range ranges[RANGES];
  struct edge edges[EDGES];
};

struct block {
  uint32_t address, length, first_edge, last_byte;
  uint64_t epoch;
  struct block *next;
};

struct cache {
  uint32_t tags[MAX_LINES][MAX_WAYS]; /* by set, the most recent first; tag + 1, 0 is empty */
  uint32_t last_miss;
};

enum { BUCKETS = 1 << 14 };
static struct shared *shared;
static struct block *blocks[BUCKETS];
static const struct block *previous;
static struct cache instruction_cache, data_cache;

static void begin(void) {
  shared->seen = shared->epoch;
  shared->odd_halfword = shared->word_at_2 = shared->word_at_odd = shared->crosses_word = 0;
  shared->unaligned_load = shared->unaligned_store = 0;
  shared->edge_count = shared->lost = 0;
  for (uint32_t i = 0; i < shared->range_count; i++) {
    struct range *range = &shared->ranges[i];
    memset(&range->reads, 0, sizeof *range - offsetof(struct range, reads));
  }
  memset(&instruction_cache, 0, sizeof instruction_cache);
  memset(&data_cache, 0, sizeof data_cache);
  previous = NULL;
}

static int misses(struct cache *cache, const struct geometry *geometry, uint32_t line) {
  uint32_t *ways = cache->tags[line % geometry->sets];
  uint32_t held = line + 1;
  for (uint32_t way = 0; way < geometry->ways; way++) {
    const uint32_t other = ways[way];
    ways[way] = held;
    if (other == line + 1) return 0;
    held = other;
  }
  return 1;
}

static struct range *range_of(uint32_t address) {
  for (uint32_t i = 0; i < shared->range_count; i++)
    if (address - shared->ranges[i].start < shared->ranges[i].end - shared->ranges[i].start) return &shared->ranges[i];
  return NULL;
}

static void fetched(const struct block *block) {
  struct range *range = range_of(block->address);
  const struct geometry *geometry = &shared->instruction_cache;
  if (range == NULL || geometry->sets == 0) return;
  const uint32_t first = block->address / geometry->line_bytes, last = block->last_byte / geometry->line_bytes;
  for (uint32_t line = first; line <= last; line++) {
    range->fetches++;
    if (range->cached && misses(&instruction_cache, geometry, line)) {
      range->fetch_misses++;
      range->sequential_fetch_misses += line == instruction_cache.last_miss + 1;
      instruction_cache.last_miss = line;
    }
  }
}

static void accessed(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t where, void *data) {
  const uint32_t address = (uint32_t)where, size = 1u << qemu_plugin_mem_size_shift(info);
  (void)vcpu;
  (void)data;
  if (address & 3) {
    if (size == 2) shared->odd_halfword += address & 1;
    if (size >= 4) {
      shared->word_at_2 += (address & 3) == 2;
      shared->word_at_odd += address & 1;
    }
    shared->crosses_word += (address & 3) + size > 4;
    if (address & (size > 4 ? 3 : size - 1)) {
      if (qemu_plugin_mem_is_store(info))
        shared->unaligned_store++;
      else
        shared->unaligned_load++;
    }
  }
  if (shared->range_count == 0) return;
  struct range *range = range_of(address);
  if (range == NULL) return;
  const int store = qemu_plugin_mem_is_store(info);
  if (store)
    range->writes++;
  else
    range->reads++;
  const struct geometry *geometry = &shared->data_cache;
  if (!range->cached || geometry->sets == 0) return;
  const uint32_t first = address / geometry->line_bytes, last = (address + size - 1) / geometry->line_bytes;
  for (uint32_t line = first; line <= last; line++) {
    if (!misses(&data_cache, geometry, line)) continue;
    if (store) {
      range->write_misses++;
    } else {
      range->read_misses++;
      range->sequential_read_misses += line == data_cache.last_miss + 1;
      data_cache.last_miss = line;
    }
  }
}

static void count_edge(const struct block *from, struct block *to) {
  struct edge *edges = shared->edges;
  if (to->epoch != shared->seen) {
    to->epoch = shared->seen;
    to->first_edge = EDGES;
  }
  const uint32_t address = from == NULL ? 0 : from->address, length = from == NULL ? 0 : from->length;
  for (uint32_t i = to->first_edge; i != EDGES; i = edges[i].next) {
    if (edges[i].from == address && edges[i].from_length == length) {
      edges[i].count++;
      return;
    }
  }
  if (shared->edge_count == EDGES) {
    shared->lost++;
    return;
  }
  const uint32_t fresh = (uint32_t)shared->edge_count++;
  edges[fresh] = (struct edge){.from = address, .from_length = length, .to = to->address, .to_length = to->length,
                               .count = 1, .next = to->first_edge};
  to->first_edge = fresh;
}

static void executed(unsigned vcpu, void *data) {
  struct block *block = data;
  (void)vcpu;
  if (shared->epoch != shared->seen) begin();
  count_edge(previous, block);
  previous = block;
  if (shared->range_count != 0) fetched(block);
}

static struct block *block_of(uint32_t address, uint32_t length, uint32_t last_byte) {
  struct block **bucket = &blocks[(address / 2 * 31 + length) % BUCKETS];
  for (struct block *block = *bucket; block != NULL; block = block->next)
    if (block->address == address && block->length == length && block->last_byte == last_byte) return block;
  struct block *block = calloc(1, sizeof *block);
  if (block == NULL) abort();
  *block = (struct block){
      .address = address, .length = length, .last_byte = last_byte, .first_edge = EDGES, .next = *bucket};
  return *bucket = block;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
  const size_t length = qemu_plugin_tb_n_insns(block);
  (void)id;
  const uint32_t last_byte = (uint32_t)qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(block, length - 1)) + 1;
  struct block *known = block_of((uint32_t)qemu_plugin_tb_vaddr(block), (uint32_t)length, last_byte);
  qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &shared->instructions, length);
  qemu_plugin_register_vcpu_tb_exec_cb(block, executed, QEMU_PLUGIN_CB_NO_REGS, known);
  for (size_t i = 0; i < length; i++)
    qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(block, i), accessed, QEMU_PLUGIN_CB_NO_REGS,
                                     QEMU_PLUGIN_MEM_RW, NULL);
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv) {
  (void)info;
  for (int i = 0; i < argc; i++) {
    if (strncmp(argv[i], "shared=", 7) == 0) {
      const int file = open(argv[i] + 7, O_RDWR);
      if (file < 0) {
        perror(argv[i]);
        return -1;
      }
      void *mapped = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
      close(file);
      if (mapped == MAP_FAILED) {
        perror("mmap");
        return -1;
      }
      shared = mapped;
    }
  }
  if (shared == NULL) {
    fprintf(stderr, "profile: shared=PATH is missing\n");
    return -1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  return 0;
}
