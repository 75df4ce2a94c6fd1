/* Functions whose ways of returning no C compiler writes. */
        .text

        /* long pops(long a, on the stack: b, c): returns a + b + c and pops its two stack arguments */
        .globl  pops
        .type   pops, @function
pops:   mov     8(%rsp), %rax
        add     16(%rsp), %rax
        add     %rdi, %rax
        ret     $16

        /* long call_pops(long a): pops(a, 1000, 2000), checking the stack afterwards */
        .globl  call_pops
        .type   call_pops, @function
call_pops:
        push    %rbx
        mov     %rsp, %rbx
        push    $2000
        push    $1000
        call    pops
        cmp     %rsp, %rbx
        jne     1f
        pop     %rbx
        ret
1:      ud2

        /* Tail calls: first jumps to second, which jumps to third, which returns 3 * a. */
        .globl  first, second, third
        .type   first, @function
        .type   second, @function
        .type   third, @function
first:  nop
        jmp     second
second: nop
        jmp     third
third:  lea     (%rdi,%rdi,2), %rax
        ret

        .section .note.GNU-stack, "", @progbits
