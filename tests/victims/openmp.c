/* Sorts and sums by OpenMP, with the same result whatever the threads do: openmp [SIZE]. */
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST = 1 << 16 };

static uint32_t number[MOST];
static long histogram[256];

static uint32_t mixed(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352d;
    return x ^ x >> 15;
}

int main(int argc, char **argv)
{
    int size = argc > 1 ? atoi(argv[1]) : 2000;
    uint64_t sum = 0, most = 0;

    if (size < 1 || size > MOST)
        return 2;
    omp_set_num_threads(4);
#pragma omp parallel for schedule(dynamic, 50)
    for (int i = 0; i < size; i++)
        number[i] = mixed(i);
    for (int phase = 0; phase < 40; phase++)
#pragma omp parallel for
        for (int i = phase % 2; i < size - 1; i += 2)
            if (number[i] > number[i + 1]) {
                uint32_t other = number[i];
                number[i] = number[i + 1];
                number[i + 1] = other;
            }
#pragma omp parallel for reduction(+ : sum) reduction(max : most)
    for (int i = 0; i < size; i++) {
        sum += (uint64_t)number[i] * (uint64_t)(i + 1);
        most = number[i] > most ? number[i] : most;
#pragma omp atomic
        histogram[number[i] % 256]++;
    }
#pragma omp parallel
#pragma omp single
    for (int i = 0; i < 20; i++)
#pragma omp task firstprivate(i)
        {
#pragma omp critical
            histogram[i] += i;
        }
    printf("sum %lu most %lu\n", (unsigned long)sum, (unsigned long)most);
    for (int i = 0; i < 256; i++)
        printf("%ld%c", histogram[i], i % 16 == 15 ? '\n' : ' ');
    return 6;
}
