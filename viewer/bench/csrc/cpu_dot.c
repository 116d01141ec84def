// Dot products of stored weight rows with activations: what decode does to every weight. Blocks as in GGUF files:
// Q8_0 (32 int8, f16 scale), Q4_0 (32 nibbles, f16 scale), Q4_K (256 nibbles, 6-bit scales and minima, two f16).
// One column is a matrix-vector product; four columns reuse what was unpacked, as a small prefill tile does.
#include "cpu_core.h"

#include <math.h>
#include <string.h>

typedef struct { uint16_t d; int8_t q[32]; } Q8;                              // weights and activations
typedef struct { uint16_t d; uint8_t q[16]; } Q4;                             // value = d * (nibble - 8)
typedef struct { uint16_t d, dmin; uint8_t scales[12]; uint8_t q[128]; } Q4K; // value = d*sc*nibble - dmin*mn
typedef struct { float d; int8_t q[256]; int16_t sums[16]; } Q8K;             // activations for Q4_K
typedef uint16_t Half;

#define BLOCKS (ROW_VALUES / 32)
#define SUPER (ROW_VALUES / 256)
#define ALWAYS static inline __attribute__((always_inline))
#define OUT_ROWS 128

ALWAYS float half_soft(Half h) {
    int e = (h >> 10) & 31, m = h & 1023;
    float v = e ? ldexpf((float)(1024 + m), e - 25) : ldexpf((float)m, -24);
    return h & 0x8000 ? -v : v;
}
ALWAYS float half(Half h) {
#if defined(__F16C__)
    return _cvtsh_ss(h);
#elif defined(__aarch64__)
    __fp16 v;
    memcpy(&v, &h, sizeof v);
    return (float)v;
#else
    return half_soft(h);
#endif
}
ALWAYS void q4k_scale(const uint8_t *s, int j, uint8_t *scale, uint8_t *min) {
    *scale = j < 4 ? s[j] & 63 : (uint8_t)((s[j + 4] & 15) | (s[j - 4] >> 6) << 4);
    *min = j < 4 ? s[j + 4] & 63 : (uint8_t)(s[j + 4] >> 4 | (s[j] >> 6) << 4);
}

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define SIMD
typedef __m256i I8;
typedef __m256 F8;
ALWAYS I8 dot_us(I8 u, I8 s) {  // unsigned x signed bytes, sums of four
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
    return _mm256_dpbusd_epi32(_mm256_setzero_si256(), u, s);
#elif defined(__AVXVNNI__)
    return _mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), u, s);
#else
    return _mm256_madd_epi16(_mm256_maddubs_epi16(u, s), _mm256_set1_epi16(1));
#endif
}
ALWAYS I8 dot_ss(I8 x, I8 y) { return dot_us(_mm256_sign_epi8(x, x), _mm256_sign_epi8(y, x)); }
ALWAYS I8 load32(const void *p) { return _mm256_loadu_si256((const I8 *)p); }
ALWAYS I8 nibbles(const uint8_t *p) {  // 16 bytes -> 32 values: low nibbles first
    __m128i b = _mm_loadu_si128((const __m128i *)p);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(b, 4), b), _mm256_set1_epi8(15));
}
ALWAYS float sum8(F8 v) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
ALWAYS F8 scaled(F8 acc, I8 p, float d) { return _mm256_fmadd_ps(_mm256_set1_ps(d), _mm256_cvtepi32_ps(p), acc); }
#endif

ALWAYS void q8_0_row(const Q8 *w, const Q8 *x, int cols, float *out) {
#if defined(SIMD)
    F8 acc[MAX_COLUMNS];
    for (int c = 0; c < cols; ++c) acc[c] = _mm256_setzero_ps();
    for (int i = 0; i < BLOCKS; ++i) {
        I8 q = load32(w[i].q);
        float d = half(w[i].d);
        for (int c = 0; c < cols; ++c) {
            const Q8 *y = x + c * BLOCKS + i;
            acc[c] = scaled(acc[c], dot_ss(q, load32(y->q)), d * half(y->d));
        }
    }
    for (int c = 0; c < cols; ++c) out[c] = sum8(acc[c]);
#else
    for (int c = 0; c < cols; ++c) {
        float acc = 0;
        for (int i = 0; i < BLOCKS; ++i) {
            const Q8 *y = x + c * BLOCKS + i;
            int sum = 0;
            for (int j = 0; j < 32; ++j) sum += (int)w[i].q[j] * y->q[j];
            acc += half(w[i].d) * half(y->d) * (float)sum;
        }
        out[c] = acc;
    }
#endif
}

ALWAYS void q4_0_row(const Q4 *w, const Q8 *x, int cols, float *out) {
#if defined(SIMD)
    F8 acc[MAX_COLUMNS];
    for (int c = 0; c < cols; ++c) acc[c] = _mm256_setzero_ps();
    for (int i = 0; i < BLOCKS; ++i) {
        I8 q = _mm256_sub_epi8(nibbles(w[i].q), _mm256_set1_epi8(8));
        float d = half(w[i].d);
        for (int c = 0; c < cols; ++c) {
            const Q8 *y = x + c * BLOCKS + i;
            acc[c] = scaled(acc[c], dot_ss(q, load32(y->q)), d * half(y->d));
        }
    }
    for (int c = 0; c < cols; ++c) out[c] = sum8(acc[c]);
#else
    for (int c = 0; c < cols; ++c) {
        float acc = 0;
        for (int i = 0; i < BLOCKS; ++i) {
            const Q8 *y = x + c * BLOCKS + i;
            int sum = 0;
            for (int j = 0; j < 16; ++j)
                sum += ((int)(w[i].q[j] & 15) - 8) * y->q[j] + ((int)(w[i].q[j] >> 4) - 8) * y->q[j + 16];
            acc += half(w[i].d) * half(y->d) * (float)sum;
        }
        out[c] = acc;
    }
#endif
}

ALWAYS void q4_k_row(const Q4K *w, const Q8K *x, int cols, float *out) {
    uint8_t sc[8], mn[8];
#if defined(SIMD)
    F8 acc[MAX_COLUMNS];
    float low[MAX_COLUMNS] = {0};
    for (int c = 0; c < cols; ++c) acc[c] = _mm256_setzero_ps();
    for (int i = 0; i < SUPER; ++i) {
        for (int j = 0; j < 8; ++j) q4k_scale(w[i].scales, j, sc + j, mn + j);
        __m128i minima = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)mn));
        float d = half(w[i].d), dmin = half(w[i].dmin);
        I8 sum[MAX_COLUMNS];
        for (int c = 0; c < cols; ++c) sum[c] = _mm256_setzero_si256();
        for (int g = 0; g < 4; ++g) {
            I8 b = load32(w[i].q + 32 * g), mask = _mm256_set1_epi8(15);
            I8 first = _mm256_and_si256(b, mask), second = _mm256_and_si256(_mm256_srli_epi16(b, 4), mask);
            I8 s0 = _mm256_set1_epi16(sc[2 * g]), s1 = _mm256_set1_epi16(sc[2 * g + 1]);
            for (int c = 0; c < cols; ++c) {
                const int8_t *y = x[c * SUPER + i].q + 64 * g;
                I8 p0 = _mm256_madd_epi16(_mm256_maddubs_epi16(first, load32(y)), s0);
                I8 p1 = _mm256_madd_epi16(_mm256_maddubs_epi16(second, load32(y + 32)), s1);
                sum[c] = _mm256_add_epi32(sum[c], _mm256_add_epi32(p0, p1));
            }
        }
        for (int c = 0; c < cols; ++c) {
            const Q8K *y = x + c * SUPER + i;
            const __m128i *s = (const __m128i *)y->sums;
            __m128i m = _mm_madd_epi16(minima, _mm_hadd_epi16(_mm_loadu_si128(s), _mm_loadu_si128(s + 1)));
            m = _mm_add_epi32(m, _mm_shuffle_epi32(m, 0x4e));
            m = _mm_add_epi32(m, _mm_shuffle_epi32(m, 0xb1));
            low[c] += dmin * y->d * (float)_mm_cvtsi128_si32(m);
            acc[c] = scaled(acc[c], sum[c], d * y->d);
        }
    }
    for (int c = 0; c < cols; ++c) out[c] = sum8(acc[c]) - low[c];
#else
    for (int c = 0; c < cols; ++c) {
        float acc = 0;
        for (int i = 0; i < SUPER; ++i) {
            const Q8K *y = x + c * SUPER + i;
            int total = 0, low = 0;
            for (int j = 0; j < 8; ++j) {
                q4k_scale(w[i].scales, j, sc + j, mn + j);
                int sum = 0, shift = j % 2 * 4;
                for (int k = 0; k < 32; ++k) sum += (w[i].q[j / 2 * 32 + k] >> shift & 15) * (int)y->q[32 * j + k];
                total += sum * sc[j];
                low += mn[j] * (y->sums[2 * j] + y->sums[2 * j + 1]);
            }
            acc += y->d * (half(w[i].d) * (float)total - half(w[i].dmin) * (float)low);
        }
        out[c] = acc;
    }
#endif
}

#if defined(__AVX512F__)
typedef __m512 HF;
#define HL 16
#define HLOAD(p) _mm512_cvtph_ps(load32(p))
#define HFMA _mm512_fmadd_ps
#define HADD _mm512_add_ps
#define HZERO _mm512_setzero_ps()
#define HSUM _mm512_reduce_add_ps
#elif defined(SIMD)
typedef F8 HF;
#define HL 8
#define HLOAD(p) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p)))
#define HFMA _mm256_fmadd_ps
#define HADD _mm256_add_ps
#define HZERO _mm256_setzero_ps()
#define HSUM sum8
#endif

// Four chains in all: four parts of the row for one column, one for each of several columns.
ALWAYS void f16_row(const Half *w, const Half *x, int cols, float *out) {
#if defined(HL)
    int parts = cols == 1 ? 4 : 1;
    HF acc[4] = {HZERO, HZERO, HZERO, HZERO};
    for (int i = 0; i < ROW_VALUES; i += parts * HL)
        for (int j = 0; j < parts; ++j) {
            HF v = HLOAD(w + i + HL * j);
            for (int c = 0; c < cols; ++c)
                acc[c + j] = HFMA(v, HLOAD(x + c * ROW_VALUES + i + HL * j), acc[c + j]);
        }
    if (cols == 1) acc[0] = HADD(HADD(acc[0], acc[1]), HADD(acc[2], acc[3]));
    for (int c = 0; c < cols; ++c) out[c] = HSUM(acc[c]);
#else
    for (int c = 0; c < cols; ++c) {
        float acc[16] = {0}, sum = 0;
        for (int i = 0; i < ROW_VALUES; i += 16)
            for (int j = 0; j < 16; ++j) acc[j] += half(w[i + j]) * half(x[c * ROW_VALUES + i + j]);
        for (int j = 0; j < 16; ++j) sum += acc[j];
        out[c] = sum;
    }
#endif
}

ALWAYS void f32_row(const float *w, const float *x, int cols, float *out) {
    for (int c = 0; c < cols; ++c) {
        typedef float V __attribute__((vector_size(64), aligned(4), may_alias));
        V acc[4] = {{0}, {0}, {0}, {0}};
        for (int i = 0; i < ROW_VALUES; i += 64)
            for (int j = 0; j < 4; ++j) acc[j] += *(const V *)(w + i + 16 * j) * *(const V *)(x + c * ROW_VALUES + i + 16 * j);
        acc[0] += acc[1] + acc[2] + acc[3];
        float sum = 0;
        for (int j = 0; j < 16; ++j) sum += acc[0][j];
        out[c] = sum;
    }
}

// --- plain values of a row, for the check -------------------------------------------------------------
static float q8_value(const Q8 *w, int i) { return half_soft(w[i / 32].d) * (float)w[i / 32].q[i % 32]; }
static float q4_value(const Q4 *w, int i) {
    int j = i % 32, b = w[i / 32].q[j % 16];
    return half_soft(w[i / 32].d) * (float)((j < 16 ? b & 15 : b >> 4) - 8);
}
static float q4k_value(const Q4K *w, int i) {
    const Q4K *s = w + i / 256;
    uint8_t scale, min;
    int j = i % 256;
    q4k_scale(s->scales, j / 32, &scale, &min);
    int q = s->q[j / 64 * 32 + j % 32] >> (j / 32 % 2 * 4) & 15;
    return half_soft(s->d) * (float)scale * (float)q - half_soft(s->dmin) * (float)min;
}
static float q8k_value(const Q8K *x, int i) { return x[i / 256].d * (float)x[i / 256].q[i % 256]; }
static float f16_value(const Half *w, int i) { return half_soft(w[i]); }
static float f32_value(const float *w, int i) { return w[i]; }

// --- random contents ------------------------------------------------------------------------------------
static Half random_scale(uint64_t *r) { return (Half)(0x1c00 + (next_random(r) & 0x3ff)); }  // about 0.004 ... 0.008

void fill_blocks(const char *name, unsigned char *p, size_t bytes, uint64_t seed) {
    uint64_t *words = (uint64_t *)p;
    int q8 = starts_with(name, "q8_0"), q4 = starts_with(name, "q4_0"), q4k = starts_with(name, "q4_k");
    if (!q8 && !q4 && !q4k && !starts_with(name, "f16")) {
        fill_random(p, bytes, seed);
        return;
    }
    for (size_t i = 0; i < bytes / 8; ++i) words[i] = next_random(&seed);
    if (q8)
        for (size_t i = 0; i < bytes / sizeof(Q8); ++i) ((Q8 *)p)[i].d = random_scale(&seed);
    if (q4)
        for (size_t i = 0; i < bytes / sizeof(Q4); ++i) ((Q4 *)p)[i].d = random_scale(&seed);
    if (q4k)
        for (size_t i = 0; i < bytes / sizeof(Q4K); ++i)
            ((Q4K *)p)[i].d = random_scale(&seed), ((Q4K *)p)[i].dmin = random_scale(&seed);
    if (q8)  // -128 never occurs in a Q8_0 file
        for (size_t i = 0; i < bytes; ++i) p[i] += p[i] == 0x80;
    if (starts_with(name, "f16"))  // magnitudes 0.5 ... 2, either sign
        for (size_t i = 0; i < bytes / 2; ++i) ((Half *)p)[i] = (Half)((((Half *)p)[i] & 0x87ff) | 0x3800);
}

static void q8k_activations(unsigned char *p, uint64_t seed) {
    Q8K *x = (Q8K *)p;
    for (int i = 0; i < MAX_COLUMNS * SUPER; ++i) {
        x[i].d = 0.007f;
        memset(x[i].sums, 0, sizeof x[i].sums);
        for (int j = 0; j < 256; ++j) {
            x[i].q[j] = (int8_t)((int)(next_random(&seed) % 255) - 127);
            x[i].sums[j / 16] = (int16_t)(x[i].sums[j / 16] + x[i].q[j]);
        }
    }
}

// --- one run and one check per format -------------------------------------------------------------------
#define PROBE(NAME, W, X, ROW_OF_BLOCKS, COLS, WVALUE, XVALUE, XSTRIDE, PREPARE)                            \
    static void NAME##_run(Share *s, long reps) {                                                           \
        const W *w = (const W *)s->a;                                                                       \
        const X *x = (const X *)s->b;                                                                       \
        size_t rows = s->bytes / (ROW_OF_BLOCKS * sizeof(W));                                               \
        for (long r = 0; r < reps; ++r) {                                                                   \
            for (size_t i = 0; i < rows; ++i)                                                               \
                NAME##_one(w + i * ROW_OF_BLOCKS, x, s->state + i % OUT_ROWS * MAX_COLUMNS);                \
            __asm__ volatile("" : : : "memory");                                                            \
        }                                                                                                   \
    }                                                                                                       \
    static double NAME##_check(Share *s) {                                                                  \
        PREPARE;                                                                                            \
        NAME##_run(s, 1);                                                                                   \
        size_t rows = s->bytes / (ROW_OF_BLOCKS * sizeof(W)), from = rows > OUT_ROWS ? rows - OUT_ROWS : 0; \
        double worst = 0;                                                                                   \
        for (size_t i = from; i < rows; ++i)                                                                \
            for (int c = 0; c < COLS; ++c) {                                                                \
                double sum = 0, size = 0;                                                                   \
                for (int k = 0; k < ROW_VALUES; ++k) {                                                      \
                    double v = (double)WVALUE((const W *)s->a + i * ROW_OF_BLOCKS, k) *                     \
                               XVALUE((const X *)s->b + c * XSTRIDE, k);                                    \
                    sum += v, size += v < 0 ? -v : v;                                                       \
                }                                                                                           \
                double e = fabs((double)s->state[i % OUT_ROWS * MAX_COLUMNS + (size_t)c] - sum) / size;     \
                if (!(e <= worst)) worst = e;                                                               \
            }                                                                                               \
        return worst;                                                                                       \
    }
#define DOT(NAME, ROW, W, X, PER_ROW, COLS, WVALUE, XVALUE, XSTRIDE, PREPARE)                              \
    static __attribute__((noinline)) void NAME##_one(const W *w, const X *x, float *out) { ROW(w, x, COLS, out); } \
    PROBE(NAME, W, X, PER_ROW, COLS, WVALUE, XVALUE, XSTRIDE, PREPARE)

#define ACTIVATIONS(F) fill_blocks(F, s->b, sizeof(float) * MAX_COLUMNS * ROW_VALUES, s->seed + 7)
DOT(q8_0_1, q8_0_row, Q8, Q8, BLOCKS, 1, q8_value, q8_value, BLOCKS, ACTIVATIONS("q8_0"))
DOT(q8_0_4, q8_0_row, Q8, Q8, BLOCKS, 4, q8_value, q8_value, BLOCKS, ACTIVATIONS("q8_0"))
DOT(q4_0_1, q4_0_row, Q4, Q8, BLOCKS, 1, q4_value, q8_value, BLOCKS, ACTIVATIONS("q8_0"))
DOT(q4_0_4, q4_0_row, Q4, Q8, BLOCKS, 4, q4_value, q8_value, BLOCKS, ACTIVATIONS("q8_0"))
DOT(q4_k_1, q4_k_row, Q4K, Q8K, SUPER, 1, q4k_value, q8k_value, SUPER, q8k_activations(s->b, s->seed))
DOT(q4_k_4, q4_k_row, Q4K, Q8K, SUPER, 4, q4k_value, q8k_value, SUPER, q8k_activations(s->b, s->seed))
DOT(f16_1, f16_row, Half, Half, ROW_VALUES, 1, f16_value, f16_value, ROW_VALUES, ACTIVATIONS("f16"))
DOT(f16_4, f16_row, Half, Half, ROW_VALUES, 4, f16_value, f16_value, ROW_VALUES, ACTIVATIONS("f16"))
DOT(f32_1, f32_row, float, float, ROW_VALUES, 1, f32_value, f32_value, ROW_VALUES, ACTIVATIONS("f32"))

#define ENTRY(NAME, TEXT, COLS, BYTES) \
    {TEXT, 1, 2.0 * ROW_VALUES * (COLS), (BYTES), (BYTES), NAME##_run, NAME##_check, sizeof(float) * MAX_COLUMNS * ROW_VALUES}
const Probe dot_probes[] = {
    ENTRY(q8_0_1, "q8_0", 1, BLOCKS * sizeof(Q8)),   ENTRY(q8_0_4, "q8_0_x4", 4, BLOCKS * sizeof(Q8)),
    ENTRY(q4_0_1, "q4_0", 1, BLOCKS * sizeof(Q4)),   ENTRY(q4_0_4, "q4_0_x4", 4, BLOCKS * sizeof(Q4)),
    ENTRY(q4_k_1, "q4_k", 1, SUPER * sizeof(Q4K)),   ENTRY(q4_k_4, "q4_k_x4", 4, SUPER * sizeof(Q4K)),
    ENTRY(f16_1, "f16", 1, ROW_VALUES * 2),          ENTRY(f16_4, "f16_x4", 4, ROW_VALUES * 2),
    ENTRY(f32_1, "f32", 1, ROW_VALUES * 4),
};
const int dot_count = sizeof dot_probes / sizeof *dot_probes;
