/* One small function for each kind of instruction that a probe can stand on. Each is called as
 * kind(x, plain, buffer, 3) and gives 3 * x + 1, whatever the probed instruction is; a wrong effect
 * of the instruction gives something else. The table has name, function, probe point, hits in one call.
 * X… names the known bug of probing tools that a kind would show again.
 */

        .macro ENTRY name, hits, point
        .pushsection kinds, "aw", @progbits
        .balign 8
        .quad 9f, \name, \point, \hits
        .section .rodata
9:      .asciz "\name"
        .popsection
        .globl \name
        .type \name, @function
        .balign 16
        .endm

        .macro KIND name, hits=1
        ENTRY \name, \hits, \name
\name:
        .endm

        /* The probe stands on \name\()_at, inside the function. */
        .macro INSIDE name, hits=1
        ENTRY \name, \hits, \name\()_at
\name:
        .endm

        .macro RESULT
        lea     1(%rdi,%rdi,2), %rax
        ret
        .endm

        .macro FROM_ONE reg             /* the register holds 1 */
        lea     (%rdi,%rdi,2), %r11
        lea     (\reg,%r11), %rax
        ret
        .endm

        .data
        .balign 64
vector: .quad   1, 2, 3, 4
one:    .quad   1
five:   .long   5
magic:  .long   0x12345678
ten:    .long   10
        .long   0
seven:  .quad   7
        .balign 64
        .globl  locked_count
locked_count:
        .quad   0
plain_pointer:
        .quad   plain
jump_pointer:
        .quad   jmp_memory_there
        .section .rodata
source: .fill   99, 1, 0x11
        .byte   0x77

        .text
        .balign 16
        .globl  plain
plain:  RESULT
bad:    mov     $-1, %rax
        ret

/* what compilers put first */
KIND endbr                              /* X44 */
        endbr64
        RESULT
KIND push_rbp
        push    %rbp
        mov     %rsp, %rbp
        lea     1(%rdi,%rdi,2), %rax
        pop     %rbp
        ret
KIND push_r15
        push    %r15
        mov     $99, %r15d
        lea     1(%rdi,%rdi,2), %rax
        pop     %r15
        ret
KIND push_rsp
        push    %rsp
        pop     %rax
        cmp     %rsp, %rax
        jne     bad
        RESULT
KIND push_immediate
        push    $1
        pop     %rax
        FROM_ONE %rax
KIND push_memory
        push    one(%rip)
        pop     %rax
        FROM_ONE %rax
KIND sub_rsp
        sub     $24, %rsp
        lea     1(%rdi,%rdi,2), %rax
        add     $24, %rsp
        ret
KIND mov_register
        mov     %rdi, %rax
        lea     1(%rax,%rax,2), %rax
        ret
KIND mov_immediate64
        movabs  $0x123456789abcdef0, %rax
        mov     $0x123456789abcdef0, %r11
        cmp     %r11, %rax
        jne     bad
        RESULT
KIND test_register
        test    %edi, %edi
        js      bad
        RESULT
KIND xor_register
        xor     %eax, %eax
        jne     bad
        RESULT
KIND nop_short
        nop
        RESULT
KIND nop_long                           /* X28, X30 */
        nopw    0(%rax,%rax)
        RESULT
KIND nop_longest                        /* X36 */
        .byte   0x66,0x66,0x66,0x66,0x66,0x66,0x2e,0x0f,0x1f,0x84,0,0,0,0,0
        RESULT
KIND xchg_r8                            /* X9 */
        .byte   0x49,0x90               /* xchg %r8, %rax: no nop */
        mov     %rax, %r11
        .byte   0x49,0x90
        RESULT

/* memory that counts from the program counter */
KIND lea_rip
        lea     one(%rip), %rax
        mov     (%rax), %rax
        FROM_ONE %rax
KIND mov_rip
        mov     one(%rip), %rax
        FROM_ONE %rax
KIND mov_rip_to_rsi
        mov     one(%rip), %rsi
        FROM_ONE %rsi
INSIDE mov_rip_to_r14
        push    %r14
mov_rip_to_r14_at:
        mov     one(%rip), %r14
        mov     %r14, %rax
        pop     %r14
        FROM_ONE %rax
INSIDE mov_rip_needless_rex             /* X4 */
        nop
mov_rip_needless_rex_at:
        .byte   0x49, 0x8b, 0x05        /* REX.WB mov one(%rip), %rax: B means nothing here */
        .long   one - . - 4
        FROM_ONE %rax
KIND cmp_rip_imm32                      /* X33 */
        cmpl    $0x12345678, magic(%rip)
        jne     bad
        RESULT
KIND cmp_rip_imm8                       /* X33 */
        cmpl    $5, five(%rip)
        jne     bad
        RESULT
KIND lock_inc_rip
        lock incq locked_count(%rip)
        RESULT
INSIDE div_rip                          /* X2 */
        xor     %edx, %edx
        mov     $30, %eax
div_rip_at:
        divl    ten(%rip)
        imul    %rdi, %rax
        inc     %rax
        ret
INSIDE cmpxchg_rip                      /* X2 */
        mov     $1, %eax
        mov     $1, %ecx
cmpxchg_rip_at:
        lock cmpxchg %rcx, one(%rip)
        jne     bad
        RESULT
INSIDE pop_rip
        push    $7
pop_rip_at:
        pop     seven(%rip)
        RESULT
INSIDE red_zone                         /* X41 */
        movq    $77, -8(%rsp)
        movq    $78, -128(%rsp)
red_zone_at:
        mov     one(%rip), %rax
        cmpq    $77, -8(%rsp)
        jne     bad
        cmpq    $78, -128(%rsp)
        jne     bad
        FROM_ONE %rax
KIND vex_load_rip                       /* X5, X6, X43 */
        vmovdqu vector(%rip), %xmm0
        vmovq   %xmm0, %rax
        FROM_ONE %rax
KIND sse_load_rip
        movdqu  vector(%rip), %xmm0
        movq    %xmm0, %rax
        FROM_ONE %rax
INSIDE andn_rip                         /* X3 */
        mov     $-2, %rcx
andn_rip_at:
        andn    one(%rip), %rcx, %rax
        FROM_ONE %rax
KIND mov_fs                             /* X17 */
        mov     %fs:0, %rax
        cmp     %fs:16, %rax
        jne     bad
        RESULT

/* jumps */
KIND jmp_short
        jmp     1f
        ud2
1:      RESULT
KIND jmp_near
        .byte   0xe9
        .long   1f - . - 4
        ud2
1:      RESULT
KIND jmp_register
        jmp     *%rsi
KIND jmp_notrack                        /* X30 */
        .byte   0x3e
        jmp     *%rsi
KIND jmp_memory                         /* X18, X19 */
        jmp     *jump_pointer(%rip)
        ud2
jmp_memory_there:
        RESULT
INSIDE jcc_taken
        cmp     %edi, %edi
jcc_taken_at:
        je      1f
        ud2
1:      RESULT
INSIDE jcc_not_taken
        cmp     %edi, %edi
jcc_not_taken_at:
        jne     bad
        RESULT
INSIDE jcc_short_backward               /* X10, X11 */
        jmp     2f
1:      RESULT
2:      cmp     %edi, %edi
jcc_short_backward_at:
        jle     1b
        ud2
INSIDE jrcxz_taken                      /* X32 */
        xor     %ecx, %ecx
jrcxz_taken_at:
        jrcxz   1f
        ud2
1:      RESULT
KIND jrcxz_not_taken
        jrcxz   1f
        RESULT
1:      jmp     bad
INSIDE loop_backward 3                  /* X12, X32 */
        xor     %eax, %eax
1:      add     %rdi, %rax
loop_backward_at:
        loop    1b
        inc     %rax
        ret

/* calls and returns */
KIND call_near
        call    plain
        ret
KIND call_next                          /* X34 */
        call    1f
1:      pop     %rax
        lea     1b(%rip), %rcx
        cmp     %rcx, %rax
        jne     bad
        RESULT
KIND call_register
        call    *%rsi
        ret
KIND call_memory                        /* X18, X19 */
        call    *plain_pointer(%rip)
        ret
INSIDE call_stack                       /* X20 */
        push    %rsi
call_stack_at:
        call    *(%rsp)
        add     $8, %rsp
        ret
INSIDE call_below_stack                 /* X20 */
        mov     %rsi, -136(%rsp)
call_below_stack_at:
        call    *-136(%rsp)
        ret
INSIDE call_checks_address
        call    1f
call_checks_address_next:
        RESULT
call_checks_address_at:
1:      call    2f                      /* what is pushed must be the address behind the original */
3:      ret
2:      mov     (%rsp), %rax
        lea     3b(%rip), %rcx
        cmp     %rcx, %rax
        jne     4f
        ret
4:      mov     $-1, %rdi
        ret
INSIDE ret_plain
        lea     1(%rdi,%rdi,2), %rax
ret_plain_at:
        ret
INSIDE ret_with_rep                     /* X16 */
        lea     1(%rdi,%rdi,2), %rax
ret_with_rep_at:
        .byte   0xf3, 0xc3
INSIDE ret_immediate                    /* X13 */
        mov     %rsp, %r11
        push    $0
        push    $0
        call    1f
        cmp     %rsp, %r11
        jne     5f
        RESULT
5:      mov     %r11, %rsp
        jmp     bad
1:
ret_immediate_at:
        ret     $16
INSIDE leave
        push    %rbp
        mov     %rsp, %rbp
        sub     $64, %rsp
        lea     1(%rdi,%rdi,2), %rax
leave_at:
        leave
        ret
KIND enter
        enter   $16, $0
        leave
        RESULT
INSIDE pop_rsp
        mov     %rsp, %r11
        push    %rsp
pop_rsp_at:
        pop     %rsp
        cmp     %rsp, %r11
        jne     bad
        RESULT

/* flags */
KIND pushf                              /* X22 */
        pushf
        pop     %rax
        test    $0x100, %eax            /* the trap flag is the stepper's, not ours */
        jne     bad
        RESULT
INSIDE popf                             /* X23 */
        pushf
popf_at:
        popf
        pushf
        pop     %rax
        test    $0x100, %eax
        jne     bad
        RESULT
INSIDE carry_lives                      /* X42 */
        stc
carry_lives_at:
        mov     one(%rip), %rax
        jnc     bad
        FROM_ONE %rax
INSIDE lahf
        cmp     %edi, %edi
lahf_at:
        lahf
        and     $0x40, %ah
        je      bad
        RESULT

/* the rest */
INSIDE rep_movsb                        /* X27 */
        push    %rdi
        lea     source(%rip), %rsi
        mov     %rdx, %rdi
        movb    $0, 99(%rdx)
        mov     $100, %ecx
rep_movsb_at:
        rep movsb
        pop     %rdi
        test    %rcx, %rcx
        jne     bad
        cmpb    $0x77, 99(%rdx)
        jne     bad
        RESULT
INSIDE rep_none
        push    %rdi
        mov     %rdx, %rdi
        xor     %ecx, %ecx
rep_none_at:
        rep stosb
        pop     %rdi
        RESULT
INSIDE mov_ss                           /* X1 */
        mov     %ss, %eax
mov_ss_at:
        mov     %eax, %ss
        RESULT
INSIDE cpuid
        push    %rbx
        xor     %eax, %eax
        xor     %ecx, %ecx
cpuid_at:
        cpuid
        pop     %rbx
        RESULT
KIND rdtsc
        rdtsc
        RESULT
KIND x87
        fld1
        fstp    %st(0)
        RESULT
KIND xchg_memory
        xchg    %rsi, (%rdx)
        RESULT
INSIDE system_call                      /* X24 */
        mov     $39, %eax               /* getpid */
system_call_at:
        syscall
1:      lea     1b(%rip), %rdx
        cmp     %rcx, %rdx
        jne     bad
        test    $0x100, %r11d
        jne     bad
        test    %eax, %eax
        jle     bad
        RESULT

/* what nobody may probe; never called */
KIND refused_int3 0
        int3
KIND refused_int1 0
        .byte   0xf1
KIND refused_int 0
        int     $0x21
KIND refused_hlt 0
        hlt
KIND refused_cli 0
        cli
KIND refused_in 0
        in      %dx, %al
KIND refused_lret 0                     /* X31 */
        lretq
KIND refused_iret 0
        iretq
KIND refused_ud2 0
        ud2
KIND refused_undecodable 0
        .byte   0x06, 0x90
KIND refused_branch_size 0              /* X15 */
        .byte   0x66, 0xe9, 0, 0, 0, 0, 0, 0

        .section .note.GNU-stack, "", @progbits
