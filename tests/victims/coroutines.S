/* switch_stacks(from, to): leave one stack for another, both given by where their pointer is kept. */
    .text
    .globl switch_stacks, where_am_i, self_call
    .type switch_stacks, @function
    .type where_am_i, @function
    .type self_call, @function
switch_stacks:
    .cfi_startproc
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov (%rsi), %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
    .cfi_endproc
    .size switch_stacks, . - switch_stacks

/* A function that returns the address behind its call, as code without IP-relative addressing gets it. */
where_am_i:
    .cfi_startproc
    mov (%rsp), %rax
    ret
    .cfi_endproc
    .size where_am_i, . - where_am_i

/* Calls the next instruction, and takes the return address for a number: x + 1. */
self_call:
    .cfi_startproc
    call 1f
1:  pop %rax
    lea 1(%rdi), %rax
    ret
    .cfi_endproc
    .size self_call, . - self_call
    .section .note.GNU-stack, "", @progbits
