"""Rows of the XOP-encoded opcode maps. The notation is explained in `x86_row`."""

XOP8 = """
85.np.w0.l0 vpmacssww =Vx Hx Wx Lx
86.np.w0.l0 vpmacsswd =Vx Hx Wx Lx
87.np.w0.l0 vpmacssdql =Vx Hx Wx Lx
8e.np.w0.l0 vpmacssdd =Vx Hx Wx Lx
8f.np.w0.l0 vpmacssdqh =Vx Hx Wx Lx
95.np.w0.l0 vpmacsww =Vx Hx Wx Lx
96.np.w0.l0 vpmacswd =Vx Hx Wx Lx
97.np.w0.l0 vpmacsdql =Vx Hx Wx Lx
9e.np.w0.l0 vpmacsdd =Vx Hx Wx Lx
9f.np.w0.l0 vpmacsdqh =Vx Hx Wx Lx
a2.np.w0 vpcmov =Vx Hx Wx Lx
a2.np.w1 vpcmov =Vx Hx Lx Wx
a3.np.w0.l0 vpperm =Vx Hx Wx Lx
a3.np.w1.l0 vpperm =Vx Hx Lx Wx
a6.np.w0.l0 vpmadcsswd =Vx Hx Wx Lx
b6.np.w0.l0 vpmadcswd =Vx Hx Wx Lx
c0.np.w0.l0 vprotb =Vx Wx Ib
c1.np.w0.l0 vprotw =Vx Wx Ib
c2.np.w0.l0 vprotd =Vx Wx Ib
c3.np.w0.l0 vprotq =Vx Wx Ib
cc.np.w0.l0 vpcomb =Vx Hx Wx Ib
cd.np.w0.l0 vpcomw =Vx Hx Wx Ib
ce.np.w0.l0 vpcomd =Vx Hx Wx Ib
cf.np.w0.l0 vpcomq =Vx Hx Wx Ib
ec.np.w0.l0 vpcomub =Vx Hx Wx Ib
ed.np.w0.l0 vpcomuw =Vx Hx Wx Ib
ee.np.w0.l0 vpcomud =Vx Hx Wx Ib
ef.np.w0.l0 vpcomuq =Vx Hx Wx Ib
"""

XOP9 = """
01.np./1.l0 blcfill =By Ey >oszapc
01.np./2.l0 blsfill =By Ey >oszapc
01.np./3.l0 blcs =By Ey >oszapc
01.np./4.l0 tzmsk =By Ey >oszapc
01.np./5.l0 blcic =By Ey >oszapc
01.np./6.l0 blsic =By Ey >oszapc
01.np./7.l0 t1mskc =By Ey >oszapc
02.np./1.l0 blcmsk =By Ey >oszapc
02.np./6.l0 blci =By Ey >oszapc
12.np./0.r.l0 llwpcb Ry
12.np./1.r.l0 slwpcb =Ry
80.np.w0 vfrczps =Vx Wx
81.np.w0 vfrczpd =Vx Wx
82.np.w0.l0 vfrczss =Vx Wx
83.np.w0.l0 vfrczsd =Vx Wx
90.np.w0.l0 vprotb =Vx Wx Hx
90.np.w1.l0 vprotb =Vx Hx Wx
91.np.w0.l0 vprotw =Vx Wx Hx
91.np.w1.l0 vprotw =Vx Hx Wx
92.np.w0.l0 vprotd =Vx Wx Hx
92.np.w1.l0 vprotd =Vx Hx Wx
93.np.w0.l0 vprotq =Vx Wx Hx
93.np.w1.l0 vprotq =Vx Hx Wx
94.np.w0.l0 vpshlb =Vx Wx Hx
94.np.w1.l0 vpshlb =Vx Hx Wx
95.np.w0.l0 vpshlw =Vx Wx Hx
95.np.w1.l0 vpshlw =Vx Hx Wx
96.np.w0.l0 vpshld =Vx Wx Hx
96.np.w1.l0 vpshld =Vx Hx Wx
97.np.w0.l0 vpshlq =Vx Wx Hx
97.np.w1.l0 vpshlq =Vx Hx Wx
98.np.w0.l0 vpshab =Vx Wx Hx
98.np.w1.l0 vpshab =Vx Hx Wx
99.np.w0.l0 vpshaw =Vx Wx Hx
99.np.w1.l0 vpshaw =Vx Hx Wx
9a.np.w0.l0 vpshad =Vx Wx Hx
9a.np.w1.l0 vpshad =Vx Hx Wx
9b.np.w0.l0 vpshaq =Vx Wx Hx
9b.np.w1.l0 vpshaq =Vx Hx Wx
c1.np.w0.l0 vphaddbw =Vx Wx
c2.np.w0.l0 vphaddbd =Vx Wx
c3.np.w0.l0 vphaddbq =Vx Wx
c6.np.w0.l0 vphaddwd =Vx Wx
c7.np.w0.l0 vphaddwq =Vx Wx
cb.np.w0.l0 vphadddq =Vx Wx
d1.np.w0.l0 vphaddubw =Vx Wx
d2.np.w0.l0 vphaddubd =Vx Wx
d3.np.w0.l0 vphaddubq =Vx Wx
d6.np.w0.l0 vphadduwd =Vx Wx
d7.np.w0.l0 vphadduwq =Vx Wx
db.np.w0.l0 vphaddudq =Vx Wx
e1.np.w0.l0 vphsubbw =Vx Wx
e2.np.w0.l0 vphsubwd =Vx Wx
e3.np.w0.l0 vphsubdq =Vx Wx
"""

XOPA = """
10.np.l0 bextr =Gy Ey Id >oszapc
12.np./0.l0 lwpins By Ey Id >c
12.np./1.l0 lwpval By Ey Id
"""
