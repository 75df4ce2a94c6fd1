"""Rows of the one-byte opcode map. The notation is explained in `x86_row`."""

ONE = """
00 add +Eb Gb >oszapc LOCK
01 add +Ev Gv >oszapc LOCK
02 add +Gb Eb >oszapc
03 add +Gv Ev >oszapc
04 add +$axb Ib >oszapc
05 add +$axv Iz >oszapc
06.i64 push $es D64 PUSH
07.i64 pop =$es D64 POP FAULT
08 or +Eb Gb >oszapc LOCK
09 or +Ev Gv >oszapc LOCK
0a or +Gb Eb >oszapc
0b or +Gv Ev >oszapc
0c or +$axb Ib >oszapc
0d or +$axv Iz >oszapc
0e.i64 push $cs D64 PUSH
10 adc +Eb Gb >oszapc <c LOCK
11 adc +Ev Gv >oszapc <c LOCK
12 adc +Gb Eb >oszapc <c
13 adc +Gv Ev >oszapc <c
14 adc +$axb Ib >oszapc <c
15 adc +$axv Iz >oszapc <c
16.i64 push $ss D64 PUSH
17.i64 pop =$ss D64 POP FAULT !masks-trap
18 sbb +Eb Gb >oszapc <c LOCK
19 sbb +Ev Gv >oszapc <c LOCK
1a sbb +Gb Eb >oszapc <c
1b sbb +Gv Ev >oszapc <c
1c sbb +$axb Ib >oszapc <c
1d sbb +$axv Iz >oszapc <c
1e.i64 push $ds D64 PUSH
1f.i64 pop =$ds D64 POP FAULT
20 and +Eb Gb >oszapc LOCK
21 and +Ev Gv >oszapc LOCK
22 and +Gb Eb >oszapc
23 and +Gv Ev >oszapc
24 and +$axb Ib >oszapc
25 and +$axv Iz >oszapc
27.i64 daa +$axb >oszapc <ac
28 sub +Eb Gb >oszapc LOCK
29 sub +Ev Gv >oszapc LOCK
2a sub +Gb Eb >oszapc
2b sub +Gv Ev >oszapc
2c sub +$axb Ib >oszapc
2d sub +$axv Iz >oszapc
2f.i64 das +$axb >oszapc <ac
30 xor +Eb Gb >oszapc LOCK
31 xor +Ev Gv >oszapc LOCK
32 xor +Gb Eb >oszapc
33 xor +Gv Ev >oszapc
34 xor +$axb Ib >oszapc
35 xor +$axv Iz >oszapc
37.i64 aaa +$axw >oszapc <a
38 cmp Eb Gb >oszapc
39 cmp Ev Gv >oszapc
3a cmp Gb Eb >oszapc
3b cmp Gv Ev >oszapc
3c cmp $axb Ib >oszapc
3d cmp $axv Iz >oszapc
3f.i64 aas +$axw >oszapc <a
40+r.i64 inc +Zv >oszap
48+r.i64 dec +Zv >oszap
50+r push Zv D64 PUSH
58+r pop =Zv D64 POP
60.i64 pusha|pushad $axv $cxv $dxv $bxv $bpv $siv $div PUSH
61.i64 popa|popad =$axv =$cxv =$dxv =$bxv =$bpv =$siv =$div POP
62.i64.m bound Gv Ma FAULT
63.i64 arpl +Ew Gw >z
63.o64 movsxd =Gv Ed
68 push Iz D64 PUSH
69 imul =Gv Ev Iz >oszapc
6a push Ibs D64 PUSH
6b imul =Gv Ev Ibs >oszapc
6c insb $dxw =Yb REP <d !port-io
6d insw|insd $dxw =Yz REP <d !port-io
6e outsb $dxw Xb REP <d !port-io
6f outsw|outsd $dxw Xz REP <d !port-io
70 jo Jb <o F64 JCC
71 jno Jb <o F64 JCC
72 jb Jb <c F64 JCC
73 jae Jb <c F64 JCC
74 je Jb <z F64 JCC
75 jne Jb <z F64 JCC
76 jbe Jb <cz F64 JCC
77 ja Jb <cz F64 JCC
78 js Jb <s F64 JCC
79 jns Jb <s F64 JCC
7a jp Jb <p F64 JCC
7b jnp Jb <p F64 JCC
7c jl Jb <so F64 JCC
7d jge Jb <so F64 JCC
7e jle Jb <zso F64 JCC
7f jg Jb <zso F64 JCC
80./0 add +Eb Ib >oszapc LOCK
80./1 or +Eb Ib >oszapc LOCK
80./2 adc +Eb Ib >oszapc <c LOCK
80./3 sbb +Eb Ib >oszapc <c LOCK
80./4 and +Eb Ib >oszapc LOCK
80./5 sub +Eb Ib >oszapc LOCK
80./6 xor +Eb Ib >oszapc LOCK
80./7 cmp Eb Ib >oszapc
81./0 add +Ev Iz >oszapc LOCK
81./1 or +Ev Iz >oszapc LOCK
81./2 adc +Ev Iz >oszapc <c LOCK
81./3 sbb +Ev Iz >oszapc <c LOCK
81./4 and +Ev Iz >oszapc LOCK
81./5 sub +Ev Iz >oszapc LOCK
81./6 xor +Ev Iz >oszapc LOCK
81./7 cmp Ev Iz >oszapc
82.i64./0 add +Eb Ib >oszapc LOCK
82.i64./1 or +Eb Ib >oszapc LOCK
82.i64./2 adc +Eb Ib >oszapc <c LOCK
82.i64./3 sbb +Eb Ib >oszapc <c LOCK
82.i64./4 and +Eb Ib >oszapc LOCK
82.i64./5 sub +Eb Ib >oszapc LOCK
82.i64./6 xor +Eb Ib >oszapc LOCK
82.i64./7 cmp Eb Ib >oszapc
83./0 add +Ev Ibs >oszapc LOCK
83./1 or +Ev Ibs >oszapc LOCK
83./2 adc +Ev Ibs >oszapc <c LOCK
83./3 sbb +Ev Ibs >oszapc <c LOCK
83./4 and +Ev Ibs >oszapc LOCK
83./5 sub +Ev Ibs >oszapc LOCK
83./6 xor +Ev Ibs >oszapc LOCK
83./7 cmp Ev Ibs >oszapc
84 test Eb Gb >oszapc
85 test Ev Gv >oszapc
86 xchg +Eb +Gb LOCK
87 xchg +Ev +Gv LOCK
88 mov =Eb Gb
89 mov =Ev Gv
8a mov =Gb Eb
8b mov =Gv Ev
8c.m./0-5 mov =Ew Sw
8c.r./0-5 mov =Ev Sw
8d.m lea =Gv @M
8e./0 mov =Sw Ew FAULT
8e./2 mov =Sw Ew FAULT !masks-trap
8e./3-5 mov =Sw Ew FAULT
8f./0 pop =Ev D64 POP
90+r xchg +Zv +$axv
98 cbw|cwde|cdqe +$axv
99 cwd|cdq|cqo $axv =$dxv
9a.i64 callf Ap D64 PUSH FAR !far-transfer
9b fwait X87 FAULT
9c pushf|pushfd|pushfq <oszapcditnk D64 PUSH !pushes-flags
9d popf|popfd|popfq >oszapcdtnk ~i D64 POP !loads-flags
9e sahf $axw >szapc
9f lahf +$axw <szapc
a0 mov =$axb Ob
a1 mov =$axv Ov
a2 mov $axb =Ob
a3 mov $axv =Ov
a4 movsb =Yb Xb REP <d
a5 movsw|movsd|movsq =Yv Xv REP <d
a6 cmpsb Xb Yb REP <d >oszapc
a7 cmpsw|cmpsd|cmpsq Xv Yv REP <d >oszapc
a8 test $axb Ib >oszapc
a9 test $axv Iz >oszapc
aa stosb $axb =Yb REP <d
ab stosw|stosd|stosq $axv =Yv REP <d
ac lodsb =$axb Xb REP <d
ad lodsw|lodsd|lodsq =$axv Xv REP <d
ae scasb $axb Yb REP <d >oszapc
af scasw|scasd|scasq $axv Yv REP <d >oszapc
b0+r mov =Zb Ib
b8+r mov =Zv Iv
c0./0 rol +Eb Ib ~oc
c0./1 ror +Eb Ib ~oc
c0./2 rcl +Eb Ib ~oc <c
c0./3 rcr +Eb Ib ~oc <c
c0./4 shl +Eb Ib ~oszapc
c0./5 shr +Eb Ib ~oszapc
c0./6 sal +Eb Ib ~oszapc
c0./7 sar +Eb Ib ~oszapc
c1./0 rol +Ev Ib ~oc
c1./1 ror +Ev Ib ~oc
c1./2 rcl +Ev Ib ~oc <c
c1./3 rcr +Ev Ib ~oc <c
c1./4 shl +Ev Ib ~oszapc
c1./5 shr +Ev Ib ~oszapc
c1./6 sal +Ev Ib ~oszapc
c1./7 sar +Ev Ib ~oszapc
c2 ret Iw F64 POP RETURN
c3 ret F64 POP RETURN
c4.i64.m les =Gv =$es Mp FAULT
c5.i64.m lds =Gv =$ds Mp FAULT
c6./0 mov =Eb Ib
c6./7.r.rm0 xabort Ib +$axd FAULT
c7./0 mov =Ev Iz
c7./7.r.rm0 xbegin Jz ?$axd JCC !xbegin
c8 enter Iw Ib +$bps D64 PUSH
c9 leave +$bps D64 POP
ca retf Iw POP FAR !far-transfer
cb retf POP FAR !far-transfer
cc int3 TRAP !trap-instruction
cd int Ib TRAP !trap-instruction
cd.imm80 int Ib SYSCALL !system-call-interrupt
ce.i64 into <o TRAP !trap-instruction
cf iret|iretd|iretq >oszapcditnk POP FAR !far-transfer
d0./0 rol +Eb >oc
d0./1 ror +Eb >oc
d0./2 rcl +Eb >oc <c
d0./3 rcr +Eb >oc <c
d0./4 shl +Eb >oszapc
d0./5 shr +Eb >oszapc
d0./6 sal +Eb >oszapc
d0./7 sar +Eb >oszapc
d1./0 rol +Ev >oc
d1./1 ror +Ev >oc
d1./2 rcl +Ev >oc <c
d1./3 rcr +Ev >oc <c
d1./4 shl +Ev >oszapc
d1./5 shr +Ev >oszapc
d1./6 sal +Ev >oszapc
d1./7 sar +Ev >oszapc
d2./0 rol +Eb $cxb ~oc
d2./1 ror +Eb $cxb ~oc
d2./2 rcl +Eb $cxb ~oc <c
d2./3 rcr +Eb $cxb ~oc <c
d2./4 shl +Eb $cxb ~oszapc
d2./5 shr +Eb $cxb ~oszapc
d2./6 sal +Eb $cxb ~oszapc
d2./7 sar +Eb $cxb ~oszapc
d3./0 rol +Ev $cxb ~oc
d3./1 ror +Ev $cxb ~oc
d3./2 rcl +Ev $cxb ~oc <c
d3./3 rcr +Ev $cxb ~oc <c
d3./4 shl +Ev $cxb ~oszapc
d3./5 shr +Ev $cxb ~oszapc
d3./6 sal +Ev $cxb ~oszapc
d3./7 sar +Ev $cxb ~oszapc
d4.i64 aam Ib +$axw >oszapc FAULT
d5.i64 aad Ib +$axw >oszapc
d6.i64 salc =$axb <c
d7 xlatb =$axb $axb $bxa XLAT
d8./0.m fadd Md X87
d8./1.m fmul Md X87
d8./2.m fcom Md X87
d8./3.m fcomp Md X87
d8./4.m fsub Md X87
d8./5.m fsubr Md X87
d8./6.m fdiv Md X87
d8./7.m fdivr Md X87
d8./0.r fadd Es X87
d8./1.r fmul Es X87
d8./2.r fcom Es X87
d8./3.r fcomp Es X87
d8./4.r fsub Es X87
d8./5.r fsubr Es X87
d8./6.r fdiv Es X87
d8./7.r fdivr Es X87
d9./0.m fld Md X87
d9./2.m fst =Md X87
d9./3.m fstp =Md X87
d9./4.m fldenv Ms X87
d9./5.m fldcw Mw X87
d9./6.m fnstenv =Ms X87
d9./7.m fnstcw =Mw X87
d9./0.r fld Es X87
d9./1.r fxch Es X87
d9./2.r.rm0 fnop Es X87
d9./3.r fstpnce Es X87
d9./4.r.rm0 fchs Es X87
d9./4.r.rm1 fabs Es X87
d9./4.r.rm4 ftst Es X87
d9./4.r.rm5 fxam Es X87
d9./5.r.rm0 fld1 Es X87
d9./5.r.rm1 fldl2t Es X87
d9./5.r.rm2 fldl2e Es X87
d9./5.r.rm3 fldpi Es X87
d9./5.r.rm4 fldlg2 Es X87
d9./5.r.rm5 fldln2 Es X87
d9./5.r.rm6 fldz Es X87
d9./6.r.rm0 f2xm1 Es X87
d9./6.r.rm1 fyl2x Es X87
d9./6.r.rm2 fptan Es X87
d9./6.r.rm3 fpatan Es X87
d9./6.r.rm4 fxtract Es X87
d9./6.r.rm5 fprem1 Es X87
d9./6.r.rm6 fdecstp Es X87
d9./6.r.rm7 fincstp Es X87
d9./7.r.rm0 fprem Es X87
d9./7.r.rm1 fyl2xp1 Es X87
d9./7.r.rm2 fsqrt Es X87
d9./7.r.rm3 fsincos Es X87
d9./7.r.rm4 frndint Es X87
d9./7.r.rm5 fscale Es X87
d9./7.r.rm6 fsin Es X87
d9./7.r.rm7 fcos Es X87
da./0.m fiadd Md X87
da./1.m fimul Md X87
da./2.m ficom Md X87
da./3.m ficomp Md X87
da./4.m fisub Md X87
da./5.m fisubr Md X87
da./6.m fidiv Md X87
da./7.m fidivr Md X87
da./0.r fcmovb Es <c X87
da./1.r fcmove Es <z X87
da./2.r fcmovbe Es <cz X87
da./3.r fcmovu Es <p X87
da./5.r.rm1 fucompp Es X87
db./0.m fild Md X87
db./1.m fisttp =Md X87
db./2.m fist =Md X87
db./3.m fistp =Md X87
db./5.m fld Mt X87
db./7.m fstp =Mt X87
db./0.r fcmovnb Es <c X87
db./1.r fcmovne Es <z X87
db./2.r fcmovnbe Es <cz X87
db./3.r fcmovnu Es <p X87
db./4.r.rm0 fneni Es X87
db./4.r.rm1 fndisi Es X87
db./4.r.rm2 fnclex Es X87
db./4.r.rm3 fninit Es X87
db./4.r.rm4 fnsetpm Es X87
db./5.r fucomi Es >zpcosa X87
db./6.r fcomi Es >zpcosa X87
dc./0.m fadd Mq X87
dc./1.m fmul Mq X87
dc./2.m fcom Mq X87
dc./3.m fcomp Mq X87
dc./4.m fsub Mq X87
dc./5.m fsubr Mq X87
dc./6.m fdiv Mq X87
dc./7.m fdivr Mq X87
dc./0.r fadd Es X87
dc./1.r fmul Es X87
dc./2.r fcom Es X87
dc./3.r fcomp Es X87
dc./4.r fsubr Es X87
dc./5.r fsub Es X87
dc./6.r fdivr Es X87
dc./7.r fdiv Es X87
dd./0.m fld Mq X87
dd./1.m fisttp =Mq X87
dd./2.m fst =Mq X87
dd./3.m fstp =Mq X87
dd./4.m frstor Ms X87
dd./6.m fnsave =Ms X87
dd./7.m fnstsw =Mw X87
dd./0.r ffree Es X87
dd./1.r fxch Es X87
dd./2.r fst Es X87
dd./3.r fstp Es X87
dd./4.r fucom Es X87
dd./5.r fucomp Es X87
de./0.m fiadd Mw X87
de./1.m fimul Mw X87
de./2.m ficom Mw X87
de./3.m ficomp Mw X87
de./4.m fisub Mw X87
de./5.m fisubr Mw X87
de./6.m fidiv Mw X87
de./7.m fidivr Mw X87
de./0.r faddp Es X87
de./1.r fmulp Es X87
de./2.r fcomp Es X87
de./3.r.rm1 fcompp Es X87
de./4.r fsubrp Es X87
de./5.r fsubp Es X87
de./6.r fdivrp Es X87
de./7.r fdivp Es X87
df./0.m fild Mw X87
df./1.m fisttp =Mw X87
df./2.m fist =Mw X87
df./3.m fistp =Mw X87
df./4.m fbld Mt X87
df./5.m fild Mq X87
df./6.m fbstp =Mt X87
df./7.m fistp =Mq X87
df./0.r ffreep Es X87
df./1.r fxch Es X87
df./2.r fstp Es X87
df./3.r fstp Es X87
df./4.r.rm0 fnstsw =$axw Es X87
df./5.r fucomip Es >zpcosa X87
df./6.r fcomip Es >zpcosa X87
e0 loopne Jb +$cxa <z F64 JCC
e1 loope Jb +$cxa <z F64 JCC
e2 loop Jb +$cxa F64 JCC
e3 jcxz|jecxz|jrcxz Jb $cxa F64 JCC
e4 in =$axb Ib !port-io
e5 in =$axz Ib !port-io
e6 out $axb Ib !port-io
e7 out $axz Ib !port-io
e8 call Jz F64 PUSH CALL
e9 jmp Jz F64 JUMP
ea.i64 jmpf Ap FAR !far-transfer
eb jmp Jb F64 JUMP
ec in =$axb $dxw !port-io
ed in =$axz $dxw !port-io
ee out $axb $dxw !port-io
ef out $axz $dxw !port-io
f1 int1 TRAP !trap-instruction
f4 hlt !privileged
f5 cmc >c <c
f6./0-1 test Eb Ib >oszapc
f6./2 not +Eb LOCK
f6./3 neg +Eb >oszapc LOCK
f6./4 mul Eb +$axw >oszapc
f6./5 imul Eb +$axw >oszapc
f6./6 div Eb +$axw >oszapc FAULT
f6./7 idiv Eb +$axw >oszapc FAULT
f7./0-1 test Ev Iz >oszapc
f7./2 not +Ev LOCK
f7./3 neg +Ev >oszapc LOCK
f7./4 mul Ev +$axv =$dxv >oszapc
f7./5 imul Ev +$axv =$dxv >oszapc
f7./6 div Ev +$axv +$dxv >oszapc FAULT
f7./7 idiv Ev +$axv +$dxv >oszapc FAULT
f8 clc >c
f9 stc >c
fa cli >i !privileged
fb sti >i !privileged
fc cld >d
fd std >d
fe./0 inc +Eb >oszap LOCK
fe./1 dec +Eb >oszap LOCK
ff./0 inc +Ev >oszap LOCK
ff./1 dec +Ev >oszap LOCK
ff./2 call Ev F64 PUSH ICALL
ff./3.m callf Mp PUSH FAR !far-transfer
ff./4 jmp Ev F64 IJUMP
ff./5.m jmpf Mp FAR !far-transfer
ff./6 push Ev D64 PUSH
"""

# What a REX2 prefix (APX) makes of an opcode; all others are those of the maps above and of 0f.
REX2 = """
a1 jmpabs Iv F64 JUMP !apx
"""
