// Decodes a file's bytes with Zydis as often as asked: zydis_loop FILE ADDRESS TIMES
// Prints the instructions found and the nanoseconds that the quickest time took. Every instruction is asked for its
// length, flow, branch target and operand that counts from the program counter.
#include <Zydis/Zydis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

int main(int count, char **arguments)
{
    FILE *file = count == 4 ? fopen(arguments[1], "rb") : NULL;
    if (!file)
        return 2;
    fseek(file, 0, SEEK_END);
    size_t size = ftell(file);
    rewind(file);
    uint8_t *code = malloc(size);
    if (fread(code, 1, size, file) != size)
        return 3;
    uint64_t address = strtoull(arguments[2], NULL, 0), sum = 0;
    int64_t best = INT64_MAX;
    long found = 0;
    ZydisDecoder decoder;
    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    for (int i = atoi(arguments[3]); i > 0; i--) {
        int64_t begun = now();
        found = 0;
        for (size_t at = 0; at < size; found++) {
            ZydisDecodedInstruction instruction;
            ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
            if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code + at, size - at, &instruction, operands))) {
                at++;
                continue;
            }
            if (instruction.attributes & ZYDIS_ATTRIB_IS_RELATIVE) {
                uint64_t target;
                for (int n = 0; n < instruction.operand_count_visible; n++)
                    if (ZYAN_SUCCESS(ZydisCalcAbsoluteAddress(&instruction, &operands[n], address + at, &target)))
                        sum += target;
            }
            sum += instruction.meta.branch_type;
            at += instruction.length;
        }
        int64_t took = now() - begun;
        if (took < best)
            best = took;
    }
    printf("%ld %" PRId64 " %" PRIu64 "\n", found, best, sum);
    return 0;
}
