// Bandwidth: read, copy and triad over arrays of any size, with ordinary and with non-temporal stores.
#include "cpu_core.h"

#include <string.h>

typedef uint64_t Words __attribute__((vector_size(64), may_alias));
typedef float Floats __attribute__((vector_size(64), may_alias));
#define SCALE 0.4375f

static void read_run(Share *s, long reps) {
    const Words *a = (const Words *)s->a;
    size_t n = s->bytes / sizeof(Words);
    Words x0 = {0}, x1 = {0}, x2 = {0}, x3 = {0};
    for (long r = 0; r < reps; ++r) {
        for (size_t i = 0; i < n; i += 8) {
            x0 ^= a[i] ^ a[i + 4];
            x1 ^= a[i + 1] ^ a[i + 5];
            x2 ^= a[i + 2] ^ a[i + 6];
            x3 ^= a[i + 3] ^ a[i + 7];
        }
        __asm__ volatile("" : : : "memory");
    }
    x0 ^= x1 ^ x2 ^ x3;
    uint64_t x = 0;
    for (int i = 0; i < 8; ++i) x ^= x0[i];
    memcpy(&s->sink, &x, sizeof x);
}

static double read_check(Share *s) {
    uint64_t want = 0, got;
    const uint64_t *a = (const uint64_t *)s->a;
    for (size_t i = 0; i < s->bytes / 8; ++i) want ^= a[i];
    read_run(s, 1);  // an odd number of passes leaves one
    memcpy(&got, &s->sink, sizeof got);
    return got == want ? 0.0 : 1.0;
}

static void copy_run(Share *s, long reps) {
    const Words *b = (const Words *)s->b;
    Words *a = (Words *)s->a;
    size_t n = s->bytes / sizeof(Words);
    for (long r = 0; r < reps; ++r) {
        for (size_t i = 0; i < n; i += 4) {
            Words p = b[i], q = b[i + 1], u = b[i + 2], v = b[i + 3];
            a[i] = p, a[i + 1] = q, a[i + 2] = u, a[i + 3] = v;
        }
        __asm__ volatile("" : : : "memory");
    }
}

static void triad_run(Share *s, long reps) {
    const Floats *b = (const Floats *)s->b, *c = (const Floats *)s->c;
    Floats *a = (Floats *)s->a;
    size_t n = s->bytes / sizeof(Floats);
    for (long r = 0; r < reps; ++r) {
        for (size_t i = 0; i < n; i += 2) {
            a[i] = b[i] + SCALE * c[i];
            a[i + 1] = b[i + 1] + SCALE * c[i + 1];
        }
        __asm__ volatile("" : : : "memory");
    }
}

static double copy_check_of(Share *s, void (*run)(Share *, long)) {
    memset(s->a, 0x5a, s->bytes);
    run(s, 1);
    return memcmp(s->a, s->b, s->bytes) ? 1.0 : 0.0;
}

static double triad_check_of(Share *s, void (*run)(Share *, long)) {
    memset(s->a, 0x5a, s->bytes);
    run(s, 1);
    const float *a = (const float *)s->a, *b = (const float *)s->b, *c = (const float *)s->c;
    double worst = 0;
    for (size_t i = 0; i < s->bytes / 4; ++i) {
        double e = (double)a[i] - ((double)b[i] + (double)SCALE * (double)c[i]);
        if (!((e < 0 ? -e : e) <= worst)) worst = e < 0 ? -e : e;
    }
    return worst;
}

static double copy_check(Share *s) { return copy_check_of(s, copy_run); }
static double triad_check(Share *s) { return triad_check_of(s, triad_run); }

#if defined(__AVX512F__) || defined(__AVX__)
static void stream(Words *to, Words v) {
#if defined(__AVX512F__)
    _mm512_stream_si512((__m512i *)to, (__m512i)v);
#else
    __m256i half[2];
    memcpy(half, &v, sizeof v);
    _mm256_stream_si256((__m256i *)to, half[0]);
    _mm256_stream_si256((__m256i *)to + 1, half[1]);
#endif
}

static void copy_nt_run(Share *s, long reps) {
    const Words *b = (const Words *)s->b;
    Words *a = (Words *)s->a;
    size_t n = s->bytes / sizeof(Words);
    for (long r = 0; r < reps; ++r) {
        for (size_t i = 0; i < n; i += 4)
            for (int j = 0; j < 4; ++j) stream(a + i + j, b[i + j]);
        _mm_sfence();
    }
}

static void triad_nt_run(Share *s, long reps) {
    const Floats *b = (const Floats *)s->b, *c = (const Floats *)s->c;
    Words *a = (Words *)s->a;
    size_t n = s->bytes / sizeof(Floats);
    for (long r = 0; r < reps; ++r) {
        for (size_t i = 0; i < n; ++i) {
            Floats v = b[i] + SCALE * c[i];
            stream(a + i, (Words)v);
        }
        _mm_sfence();
    }
}

static double copy_nt_check(Share *s) { return copy_check_of(s, copy_nt_run); }
static double triad_nt_check(Share *s) { return triad_check_of(s, triad_nt_run); }
#endif

const Probe memory_probes[] = {
    {"read", 1, 0, 64, 64, read_run, read_check, 0},
    {"copy", 2, 0, 128, 64, copy_run, copy_check, 0},
    {"triad", 3, 32, 192, 64, triad_run, triad_check, 0},  // 2 FLOP per 4 bytes of one array
#if defined(__AVX512F__) || defined(__AVX__)
    {"copy_nt", 2, 0, 128, 64, copy_nt_run, copy_nt_check, 0},
    {"triad_nt", 3, 32, 192, 64, triad_nt_run, triad_nt_check, 0},
#endif
};
const int memory_count = sizeof memory_probes / sizeof *memory_probes;
