/* Lets Zydis decode byte strings: zydis_decode MODE < strings > answers, MODE being 64, 32 or 16.
 *
 * A string is 16 bytes: its length (1 to 15) and its bytes. An answer is 48 bytes: see `struct answer`; length 0 says
 * that no instruction begins there. test_x86_decoders.py compares with the rows.
 *
 * Build: gcc -O2 zydis_decode.c -lZydis
 */
#include <Zydis/Zydis.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ADDRESS = 0x1000 };
/* Flows, as the test numbers them. */
enum { NEXT, JUMP, CONDITIONAL, INDIRECT_JUMP, CALL, INDIRECT_CALL, RETURN, SYSTEM_CALL, INTERRUPT, FAR };
struct string { uint8_t length, code[15]; };
struct answer { uint8_t length, flow, relative, pad[5]; uint64_t target; char name[32]; };

static int flow_of(const ZydisDecodedInstruction *instruction, const ZydisDecodedOperand *operands)
{
    if (instruction->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
        return FAR;
    int direct = instruction->operand_count && operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    switch (instruction->meta.category) {
    case ZYDIS_CATEGORY_UNCOND_BR: return direct ? JUMP : INDIRECT_JUMP;
    case ZYDIS_CATEGORY_COND_BR: return CONDITIONAL;
    case ZYDIS_CATEGORY_CALL: return direct ? CALL : INDIRECT_CALL;
    case ZYDIS_CATEGORY_RET: return RETURN;
    case ZYDIS_CATEGORY_SYSCALL: return SYSTEM_CALL;
    case ZYDIS_CATEGORY_SYSRET: return FAR;
    case ZYDIS_CATEGORY_INTERRUPT: return INTERRUPT;
    default: return NEXT;
    }
}

int main(int count, char **arguments)
{
    int mode = count == 2 ? atoi(arguments[1]) : 0;
    ZydisDecoder decoder;
    if (mode == 64)
        ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    else if (mode == 32)
        ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    else if (mode == 16)
        ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    else
        return 2;
    struct string string;
    while (fread(&string, sizeof string, 1, stdin) == 1) {
        struct answer answer;
        memset(&answer, 0, sizeof answer);
        ZydisDecodedInstruction instruction;
        ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
        if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, string.code, string.length, &instruction, operands))) {
            answer.length = instruction.length;
            answer.flow = flow_of(&instruction, operands);
            for (int n = 0; n < instruction.operand_count_visible; n++) {
                const ZydisDecodedOperand *operand = &operands[n];
                if (operand->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && operand->imm.is_relative)
                    answer.relative = 1;
                else if (operand->type == ZYDIS_OPERAND_TYPE_MEMORY
                         && (operand->mem.base == ZYDIS_REGISTER_RIP || operand->mem.base == ZYDIS_REGISTER_EIP))
                    answer.relative = 2;
                else
                    continue;
                ZydisCalcAbsoluteAddress(&instruction, operand, ADDRESS, &answer.target);
            }
            snprintf(answer.name, sizeof answer.name, "%s", ZydisMnemonicGetString(instruction.mnemonic));
        }
        fwrite(&answer, sizeof answer, 1, stdout);
    }
    return 0;
}
