/* One product of ggml's, called once to warm up and once more between the markers of tools/tcg-trace.
 *
 *     ggml_kernels KERNEL ROWS COLS TOKENS      KERNEL: matmul_q4, matmul_q8 (weights Q4_0, Q8_0), quantise
 *
 * `cargo xtask arm-cycles --ggml` compiles it for a core together with ggml's own sources, and runs it under QEMU. What is
 * called is what ggml calls for these types on that core: with dot products of bytes the weights are repacked, four rows
 * interleaved by 4 bytes, or by 8 with i8mm; a batch goes through gemm in fours and the rest through gemv. Without
 * them, rows and tokens meet in vec_dot, in squares of 16.
 *
 * Prints `multiply-adds N` and `bytes N` of the weights, or `values N`. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 32, Q4_BYTES = 18, Q8_BYTES = 34, SQUARE = 16, INTERLEAVED = 4 };

typedef void vec_dot(int n, float *s, size_t bs, const void *x, size_t bx, const void *y, size_t by, int nrc);
typedef void product(int n, float *s, size_t bs, const void *x, const void *y, int nr, int nc);

vec_dot ggml_vec_dot_q4_0_q8_0, ggml_vec_dot_q8_0_q8_0;
product ggml_gemv_q4_0_4x4_q8_0, ggml_gemm_q4_0_4x4_q8_0, ggml_gemv_q8_0_4x4_q8_0, ggml_gemm_q8_0_4x4_q8_0;
product ggml_gemv_q4_0_4x8_q8_0, ggml_gemm_q4_0_4x8_q8_0, ggml_gemv_q8_0_4x8_q8_0, ggml_gemm_q8_0_4x8_q8_0;
void quantize_row_q8_0(const float *x, void *y, int64_t k);
void ggml_quantize_mat_q8_0_4x4(const float *x, void *y, int64_t k);
void ggml_quantize_mat_q8_0_4x8(const float *x, void *y, int64_t k);

#if defined(__ARM_FEATURE_MATMUL_INT8)
#define PACKED(name) ggml_##name##_4x8_q8_0
#define QUANTISE_FOUR ggml_quantize_mat_q8_0_4x8
#elif defined(__ARM_FEATURE_DOTPROD)
#define PACKED(name) ggml_##name##_4x4_q8_0
#define QUANTISE_FOUR ggml_quantize_mat_q8_0_4x4
#endif

static float *floats(size_t n) {
    float *x = malloc(n * sizeof *x);
    if (!x) abort();
    for (size_t i = 0; i < n; i++) x[i] = (float)(rand() % 2001 - 1000) / 1000;
    return x;
}

/* Random quants behind scales of 0.01: what is packed in fours has its four scales in front. */
static uint8_t *blocks(size_t n, size_t block_bytes, size_t scales) {
    const uint16_t hundredth = 0x211f;
    uint8_t *bytes = malloc(n * block_bytes * scales);
    if (!bytes) abort();
    for (size_t i = 0; i < n * block_bytes * scales; i++) bytes[i] = (uint8_t)rand();
    for (size_t block = 0; block < n; block++)
        for (size_t i = 0; i < scales; i++) memcpy(bytes + block * block_bytes * scales + 2 * i, &hundredth, 2);
    return bytes;
}

struct work {
    int rows, cols, tokens, q4;
    const uint8_t *weights, *acts, *few;
    const float *x;
    uint8_t *quantised;
    float *out;
};

static void matmul(const struct work *w) {
    const size_t act_row = (size_t)w->cols / BLOCK * Q8_BYTES;
#ifdef PACKED
    const int whole = w->tokens > 3 ? w->tokens / 4 * 4 : 0;
    if (whole) (w->q4 ? PACKED(gemm_q4_0) : PACKED(gemm_q8_0))(w->cols, w->out, w->rows, w->weights, w->acts, whole, w->rows);
    for (int t = whole; t < w->tokens; t++)
        (w->q4 ? PACKED(gemv_q4_0) : PACKED(gemv_q8_0))(
            w->cols, w->out + (size_t)t * w->rows, w->rows, w->weights, w->few + (t - whole) * act_row, 1, w->rows);
#else
    vec_dot *dot = w->q4 ? ggml_vec_dot_q4_0_q8_0 : ggml_vec_dot_q8_0_q8_0;
    const size_t row_bytes = (size_t)w->cols / BLOCK * (w->q4 ? Q4_BYTES : Q8_BYTES);
    float square[SQUARE];
    for (int t0 = 0; t0 < w->tokens; t0 += SQUARE)
        for (int r0 = 0; r0 < w->rows; r0 += SQUARE)
            for (int t = t0; t < t0 + SQUARE && t < w->tokens; t++) {
                const int rows = w->rows - r0 < SQUARE ? w->rows - r0 : SQUARE;
                for (int r = 0; r < rows; r++) dot(w->cols, square + r, 0, w->weights + (r0 + r) * row_bytes, 0, w->acts + t * act_row, 0, 1);
                memcpy(w->out + (size_t)t * w->rows + r0, square, rows * sizeof *square);
            }
#endif
}

static void quantise(const struct work *w) {
    const size_t act_row = (size_t)w->cols / BLOCK * Q8_BYTES;
    int t = 0;
#ifdef PACKED
    for (; t + 4 <= w->tokens; t += 4) QUANTISE_FOUR(w->x + (size_t)t * w->cols, w->quantised + t * act_row, w->cols);
#endif
    for (; t < w->tokens; t++) quantize_row_q8_0(w->x + (size_t)t * w->cols, w->quantised + t * act_row, w->cols);
}

static __attribute__((noinline)) void traced(void (*kernel)(const struct work *), const struct work *w) {
    kernel(w);
    __asm__ volatile("hint #90" ::: "memory");
    kernel(w);
    __asm__ volatile("hint #91" ::: "memory");
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "ggml_kernels: expected KERNEL ROWS COLS TOKENS\n");
        return 2;
    }
    struct work w = {.rows = atoi(argv[2]), .cols = atoi(argv[3]), .tokens = atoi(argv[4])};
    if (w.rows < 1 || w.cols < 1 || w.cols % BLOCK || w.tokens < 1) {
        fprintf(stderr, "ggml_kernels: expected ROWS and TOKENS of 1 or more, COLS a multiple of 32\n");
        return 2;
    }
    const size_t per_row = (size_t)w.cols / BLOCK;
    w.x = floats((size_t)w.tokens * w.cols);
    w.out = floats((size_t)w.tokens * w.rows);
    w.quantised = blocks(w.tokens * per_row, Q8_BYTES, 1);
    w.few = blocks(w.tokens * per_row, Q8_BYTES, 1);
#ifdef PACKED
    const size_t scales = INTERLEAVED;
#else
    const size_t scales = 1;
#endif
    w.acts = blocks((w.tokens + scales - 1) / scales * per_row, Q8_BYTES, scales);
    if (!strcmp(argv[1], "quantise")) {
        traced(quantise, &w);
        printf("values %zu\n", (size_t)w.tokens * w.cols);
        return 0;
    }
    w.q4 = !strcmp(argv[1], "matmul_q4");
    if ((!w.q4 && strcmp(argv[1], "matmul_q8")) || w.rows % INTERLEAVED) {
        fprintf(stderr, "ggml_kernels: expected matmul_q4 or matmul_q8 with ROWS a multiple of 4, or quantise, got %s %s\n", argv[1], argv[2]);
        return 2;
    }
    const size_t block_bytes = w.q4 ? Q4_BYTES : Q8_BYTES;
    w.weights = blocks(w.rows / scales * per_row, block_bytes, scales);
    traced(matmul, &w);
    printf("multiply-adds %zu\nbytes %zu\n", (size_t)w.rows * w.cols * w.tokens, w.rows * per_row * block_bytes);
    return 0;
}
