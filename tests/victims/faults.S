/* Instructions that fault. Each function saves its stack pointer, sets registers to known values and
 * faults at NAME_at; the handler prints what it was told and goes on at `recover`.
 */

        .macro FAULT name
        .pushsection faults, "aw", @progbits
        .balign 8
        .quad 9f, \name, \name\()_at, 0
        .section .rodata
9:      .asciz "\name"
        .popsection
        .globl \name
        .type \name, @function
        .balign 16
\name:
        push    %rbx
        push    %rbp
        mov     $0x7777, %ebp
        push    %rbp
        mov     %rsp, saved_sp(%rip)
        xor     %r8d, %r8d
        mov     $0x1111, %eax
        mov     $0x2222, %ebx
        mov     $0x3333, %ecx
        mov     $0x4444, %edx
        mov     $0x5555, %esi
        mov     $0x6666, %edi
        mov     $0x8888, %r11d
        .endm

        .macro DONE
        jmp     recover
        .endm

        .bss
        .balign 4096
        .globl  guard
guard:  .skip   4096                    /* made inaccessible */
beyond: .skip   4096
        .globl  saved_sp, behind_end
saved_sp:
        .skip   8
behind_end:
        .skip   8
        .data
zero:   .long   0
nowhere_pointer:
        .quad   0x1000

        .text
        .globl  recover
recover:
        mov     saved_sp(%rip), %rsp
        pop     %rbp
        pop     %rbp
        pop     %rbx
        ret

FAULT load_null
load_null_at:
        mov     0x10(%r8), %rbx
        DONE
FAULT store_null
store_null_at:
        mov     %rbx, 0x10(%r8)
        DONE
FAULT load_rip
load_rip_at:
        mov     guard+8(%rip), %rbx
        DONE
FAULT add_rip
add_rip_at:
        addl    $5, guard+16(%rip)
        DONE
FAULT vex_rip
vex_rip_at:
        vmovdqu guard+64(%rip), %xmm3
        DONE
FAULT push_rip
push_rip_at:
        push    guard(%rip)
        DONE
FAULT pop_rip
        push    $5
pop_rip_at:
        pop     guard(%rip)
        DONE
FAULT movaps_misaligned
movaps_misaligned_at:
        movaps  saved_sp+4(%rip), %xmm0
        DONE
FAULT not_canonical
        mov     $0x8000000000000000, %r9
not_canonical_at:
        mov     (%r9), %rax
        DONE
FAULT push_without_stack
        lea     beyond(%rip), %rsp
push_without_stack_at:
        push    %rbp
        DONE
FAULT call_without_stack
        lea     beyond(%rip), %rsp
call_without_stack_at:
        call    recover
        DONE
FAULT call_register_without_stack
        lea     beyond(%rip), %rsp
        lea     recover(%rip), %rdx
call_register_without_stack_at:
        call    *%rdx
        DONE
FAULT call_memory_without_stack
        lea     beyond(%rip), %rsp
call_memory_without_stack_at:
        call    *nowhere_pointer(%rip)
        DONE
FAULT call_unreadable
call_unreadable_at:
        call    *guard(%rip)
        DONE
FAULT jmp_unreadable
jmp_unreadable_at:
        jmp     *guard(%rip)
        DONE
FAULT call_nowhere
        mov     $0x1000, %edx
call_nowhere_at:
        call    *%rdx
        DONE
FAULT call_memory_nowhere
call_memory_nowhere_at:
        call    *nowhere_pointer(%rip)
        DONE
FAULT jmp_nowhere
jmp_nowhere_at:
        jmp     *nowhere_pointer(%rip)
        DONE
FAULT ret_nowhere
        push    $0x1000
ret_nowhere_at:
        ret
        DONE
FAULT ret_not_canonical
        mov     $0x8000000000000000, %r9
        push    %r9
ret_not_canonical_at:
        ret
        DONE
FAULT ret_without_stack
        lea     guard(%rip), %rsp
ret_without_stack_at:
        ret
        DONE
FAULT leave_without_stack
        lea     guard(%rip), %rbp
leave_without_stack_at:
        leave
        DONE
FAULT pushf_without_stack
        lea     beyond(%rip), %rsp
pushf_without_stack_at:
        pushf
        DONE
FAULT div_by_zero
        xor     %edx, %edx
div_by_zero_at:
        divl    zero(%rip)
        DONE
FAULT idiv_overflow
        mov     $0x80000000, %eax
        mov     $-1, %edx
        mov     $-1, %ecx
idiv_overflow_at:
        idiv    %ecx
        DONE
FAULT rep_movsb_into_guard
        lea     guard-16(%rip), %rdi
        mov     %rdi, %rsi
        mov     $100, %ecx
rep_movsb_into_guard_at:
        rep movsb
        DONE
FAULT push_not_canonical               /* a stack fault is a SIGBUS */
        mov     $0x8000000000000000, %rsp
push_not_canonical_at:
        push    %rbp
        DONE
FAULT load_behind_end                   /* of the file that is mapped there: a SIGBUS with an address */
        mov     behind_end(%rip), %r9
load_behind_end_at:
        mov     (%r9), %rax
        DONE
FAULT store_behind_end
        mov     behind_end(%rip), %r9
store_behind_end_at:
        addl    $5, 8(%r9)
        DONE
FAULT not_of_amd                        /* one of these two is no instruction of this CPU */
        xor     %eax, %eax
        xor     %ecx, %ecx
        xor     %edx, %edx
not_of_amd_at:
        .byte   0x66, 0x0f, 0xae, 0xf1  /* tpause %ecx */
        DONE
FAULT not_of_intel
        xor     %eax, %eax
        xor     %ecx, %ecx
        xor     %edx, %edx
not_of_intel_at:
        .byte   0x0f, 0x01, 0xfa        /* monitorx */
        DONE
FAULT after_ud2                         /* the fault itself is not probed, its neighbour is */
after_ud2_at:
        nop
        ud2
        DONE
FAULT before_int3
before_int3_at:
        nop
        int3
        DONE
FAULT own_trap_flag                     /* the program steps itself over one instruction */
        pushf
        orl     $0x100, (%rsp)
own_trap_flag_at:
        popf
        nop
        DONE
FAULT stepped_nop                       /* the program steps itself over the probed instruction */
        pushf
        orl     $0x100, (%rsp)
        popf
stepped_nop_at:
        nop
        DONE
FAULT stepped_mov
        pushf
        orl     $0x100, (%rsp)
        popf
stepped_mov_at:
        mov     zero(%rip), %eax
        DONE
FAULT stepped_call
        pushf
        orl     $0x100, (%rsp)
        popf
stepped_call_at:
        call    recover
        DONE
FAULT stepped_pushf
        pushf
        orl     $0x100, (%rsp)
        popf
stepped_pushf_at:
        pushf
        DONE
FAULT stepped_system_call
        mov     $39, %eax
        pushf
        orl     $0x100, (%rsp)
        popf
stepped_system_call_at:
        syscall
        DONE

        .section .note.GNU-stack, "", @progbits
