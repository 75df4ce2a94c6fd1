"""Rows of the EVEX-encoded opcode maps. The notation is explained in `x86_row`."""

EVEX1 = """
10.np.w0 vmovups =Vx Wx MASK Z
10.66.w1 vmovupd =Vx Wx MASK Z
10.f3.r.w0 vmovss =Vx Hx Ux MASK Z
10.f3.m.w0 vmovss =Vx Mx MASK Z
10.f2.r.w1 vmovsd =Vx Hx Ux MASK Z
10.f2.m.w1 vmovsd =Vx Mx MASK Z
11.np.w0 vmovups =Wx Vx MASK Z
11.66.w1 vmovupd =Wx Vx MASK Z
11.f3.r.w0 vmovss =Ux Hx Vx MASK Z
11.f3.m.w0 vmovss =Mx Vx MASK
11.f2.r.w1 vmovsd =Ux Hx Vx MASK Z
11.f2.m.w1 vmovsd =Mx Vx MASK
12.np.r.w0.l0 vmovhlps =Vx Hx Ux
12.np.m.w0.l0 vmovlps =Vx Hx Mx
12.66.m.w1.l0 vmovlpd =Vx Hx Mx
12.f3.w0 vmovsldup =Vx Wx MASK Z
12.f2.w1 vmovddup =Vx Wx MASK Z
13.np.m.w0.l0 vmovlps =Mx Vx
13.66.m.w1.l0 vmovlpd =Mx Vx
14.np.w0 vunpcklps =Vx Hx Wx MASK Z BC
14.66.w1 vunpcklpd =Vx Hx Wx MASK Z BC
15.np.w0 vunpckhps =Vx Hx Wx MASK Z BC
15.66.w1 vunpckhpd =Vx Hx Wx MASK Z BC
16.np.r.w0.l0 vmovlhps =Vx Hx Ux
16.np.m.w0.l0 vmovhps =Vx Hx Mx
16.66.m.w1.l0 vmovhpd =Vx Hx Mx
16.f3.w0 vmovshdup =Vx Wx MASK Z
17.np.m.w0.l0 vmovhps =Mx Vx
17.66.m.w1.l0 vmovhpd =Mx Vx
28.np.w0 vmovaps =Vx Wx MASK Z
28.66.w1 vmovapd =Vx Wx MASK Z
29.np.w0 vmovaps =Wx Vx MASK Z
29.66.w1 vmovapd =Wx Vx MASK Z
2a.f3 vcvtsi2ss =Vx Hx Ey ER
2a.f2 vcvtsi2sd =Vx Hx Ey ER
2b.np.m.w0 vmovntps =Mx Vx
2b.66.m.w1 vmovntpd =Mx Vx
2c.f3 vcvttss2si =Gy Wx SAE
2c.f2 vcvttsd2si =Gy Wx SAE
2d.f3 vcvtss2si =Gy Wx ER
2d.f2 vcvtsd2si =Gy Wx ER
2e.np.w0 vucomiss Vx Wx >oszapc SAE
2e.66.w1 vucomisd Vx Wx >oszapc SAE
2f.np.w0 vcomiss Vx Wx >oszapc SAE
2f.66.w1 vcomisd Vx Wx >oszapc SAE
51.np.w0 vsqrtps =Vx Wx MASK Z BC ER
51.66.w1 vsqrtpd =Vx Wx MASK Z BC ER
51.f3.w0 vsqrtss =Vx Hx Wx MASK Z ER
51.f2.w1 vsqrtsd =Vx Hx Wx MASK Z ER
54.np.w0 vandps =Vx Hx Wx MASK Z BC
54.66.w1 vandpd =Vx Hx Wx MASK Z BC
55.np.w0 vandnps =Vx Hx Wx MASK Z BC
55.66.w1 vandnpd =Vx Hx Wx MASK Z BC
56.np.w0 vorps =Vx Hx Wx MASK Z BC
56.66.w1 vorpd =Vx Hx Wx MASK Z BC
57.np.w0 vxorps =Vx Hx Wx MASK Z BC
57.66.w1 vxorpd =Vx Hx Wx MASK Z BC
58.np.w0 vaddps =Vx Hx Wx MASK Z BC ER
58.66.w1 vaddpd =Vx Hx Wx MASK Z BC ER
58.f3.w0 vaddss =Vx Hx Wx MASK Z ER
58.f2.w1 vaddsd =Vx Hx Wx MASK Z ER
59.np.w0 vmulps =Vx Hx Wx MASK Z BC ER
59.66.w1 vmulpd =Vx Hx Wx MASK Z BC ER
59.f3.w0 vmulss =Vx Hx Wx MASK Z ER
59.f2.w1 vmulsd =Vx Hx Wx MASK Z ER
5a.np.w0 vcvtps2pd =Vx Wx MASK Z BC SAE
5a.66.w1 vcvtpd2ps =Vx Wx MASK Z BC ER
5a.f3.w0 vcvtss2sd =Vx Hx Wx MASK Z SAE
5a.f2.w1 vcvtsd2ss =Vx Hx Wx MASK Z ER
5b.np.w0 vcvtdq2ps =Vx Wx MASK Z BC ER
5b.np.w1 vcvtqq2ps =Vx Wx MASK Z BC ER
5b.66.w0 vcvtps2dq =Vx Wx MASK Z BC ER
5b.f3.w0 vcvttps2dq =Vx Wx MASK Z BC SAE
5c.np.w0 vsubps =Vx Hx Wx MASK Z BC ER
5c.66.w1 vsubpd =Vx Hx Wx MASK Z BC ER
5c.f3.w0 vsubss =Vx Hx Wx MASK Z ER
5c.f2.w1 vsubsd =Vx Hx Wx MASK Z ER
5d.np.w0 vminps =Vx Hx Wx MASK Z BC SAE
5d.66.w1 vminpd =Vx Hx Wx MASK Z BC SAE
5d.f3.w0 vminss =Vx Hx Wx MASK Z SAE
5d.f2.w1 vminsd =Vx Hx Wx MASK Z SAE
5e.np.w0 vdivps =Vx Hx Wx MASK Z BC ER
5e.66.w1 vdivpd =Vx Hx Wx MASK Z BC ER
5e.f3.w0 vdivss =Vx Hx Wx MASK Z ER
5e.f2.w1 vdivsd =Vx Hx Wx MASK Z ER
5f.np.w0 vmaxps =Vx Hx Wx MASK Z BC SAE
5f.66.w1 vmaxpd =Vx Hx Wx MASK Z BC SAE
5f.f3.w0 vmaxss =Vx Hx Wx MASK Z SAE
5f.f2.w1 vmaxsd =Vx Hx Wx MASK Z SAE
60.66 vpunpcklbw =Vx Hx Wx MASK Z
61.66 vpunpcklwd =Vx Hx Wx MASK Z
62.66.w0 vpunpckldq =Vx Hx Wx MASK Z BC
63.66 vpacksswb =Vx Hx Wx MASK Z
64.66 vpcmpgtb =kG Hx Wx MASK
65.66 vpcmpgtw =kG Hx Wx MASK
66.66.w0 vpcmpgtd =kG Hx Wx MASK BC
67.66 vpackuswb =Vx Hx Wx MASK Z
68.66 vpunpckhbw =Vx Hx Wx MASK Z
69.66 vpunpckhwd =Vx Hx Wx MASK Z
6a.66.w0 vpunpckhdq =Vx Hx Wx MASK Z BC
6b.66.w0 vpackssdw =Vx Hx Wx MASK Z BC
6c.66.w1 vpunpcklqdq =Vx Hx Wx MASK Z BC
6d.66.w1 vpunpckhqdq =Vx Hx Wx MASK Z BC
6e.66.l0 vmovd|vmovd|vmovq =Vx Ey
6f.66.w0 vmovdqa32 =Vx Wx MASK Z
6f.66.w1 vmovdqa64 =Vx Wx MASK Z
6f.f3.w0 vmovdqu32 =Vx Wx MASK Z
6f.f3.w1 vmovdqu64 =Vx Wx MASK Z
6f.f2.w0 vmovdqu8 =Vx Wx MASK Z
6f.f2.w1 vmovdqu16 =Vx Wx MASK Z
70.66.w0 vpshufd =Vx Wx Ib MASK Z BC
70.f3 vpshufhw =Vx Wx Ib MASK Z
70.f2 vpshuflw =Vx Wx Ib MASK Z
71.66./2 vpsrlw =Hx Wx Ib MASK Z
71.66./4 vpsraw =Hx Wx Ib MASK Z
71.66./6 vpsllw =Hx Wx Ib MASK Z
72.66./0.w0 vprord =Hx Wx Ib MASK Z BC
72.66./0.w1 vprorq =Hx Wx Ib MASK Z BC
72.66./1.w0 vprold =Hx Wx Ib MASK Z BC
72.66./1.w1 vprolq =Hx Wx Ib MASK Z BC
72.66./2.w0 vpsrld =Hx Wx Ib MASK Z BC
72.66./4.w0 vpsrad =Hx Wx Ib MASK Z BC
72.66./4.w1 vpsraq =Hx Wx Ib MASK Z BC
72.66./6.w0 vpslld =Hx Wx Ib MASK Z BC
73.66./2.w1 vpsrlq =Hx Wx Ib MASK Z BC
73.66./3 vpsrldq =Hx Wx Ib
73.66./6.w1 vpsllq =Hx Wx Ib MASK Z BC
73.66./7 vpslldq =Hx Wx Ib
74.66 vpcmpeqb =kG Hx Wx MASK
75.66 vpcmpeqw =kG Hx Wx MASK
76.66.w0 vpcmpeqd =kG Hx Wx MASK BC
78.np.w0 vcvttps2udq =Vx Wx MASK Z BC SAE
78.np.w1 vcvttpd2udq =Vx Wx MASK Z BC SAE
78.66.w0 vcvttps2uqq =Vx Wx MASK Z BC SAE
78.66.w1 vcvttpd2uqq =Vx Wx MASK Z BC SAE
78.f3 vcvttss2usi =Gy Wx SAE
78.f2 vcvttsd2usi =Gy Wx SAE
79.np.w0 vcvtps2udq =Vx Wx MASK Z BC ER
79.np.w1 vcvtpd2udq =Vx Wx MASK Z BC ER
79.66.w0 vcvtps2uqq =Vx Wx MASK Z BC ER
79.66.w1 vcvtpd2uqq =Vx Wx MASK Z BC ER
79.f3 vcvtss2usi =Gy Wx ER
79.f2 vcvtsd2usi =Gy Wx ER
7a.66.w0 vcvttps2qq =Vx Wx MASK Z BC SAE
7a.66.w1 vcvttpd2qq =Vx Wx MASK Z BC SAE
7a.f3.w0 vcvtudq2pd =Vx Wx MASK Z BC ER
7a.f3.w1 vcvtuqq2pd =Vx Wx MASK Z BC ER
7a.f2.w0 vcvtudq2ps =Vx Wx MASK Z BC ER
7a.f2.w1 vcvtuqq2ps =Vx Wx MASK Z BC ER
7b.66.w0 vcvtps2qq =Vx Wx MASK Z BC ER
7b.66.w1 vcvtpd2qq =Vx Wx MASK Z BC ER
7b.f3 vcvtusi2ss =Vx Hx Ey ER
7b.f2 vcvtusi2sd =Vx Hx Ey ER
7e.66.l0 vmovd|vmovd|vmovq =Ey Vx
7e.f3.w1.l0 vmovq =Vx Wx
7f.66.w0 vmovdqa32 =Wx Vx MASK Z
7f.66.w1 vmovdqa64 =Wx Vx MASK Z
7f.f3.w0 vmovdqu32 =Wx Vx MASK Z
7f.f3.w1 vmovdqu64 =Wx Vx MASK Z
7f.f2.w0 vmovdqu8 =Wx Vx MASK Z
7f.f2.w1 vmovdqu16 =Wx Vx MASK Z
c2.np.w0 vcmpps =kG Hx Wx Ib MASK BC SAE
c2.66.w1 vcmppd =kG Hx Wx Ib MASK BC SAE
c2.f3.w0 vcmpss =kG Hx Wx Ib MASK SAE
c2.f2.w1 vcmpsd =kG Hx Wx Ib MASK SAE
c4.66.l0 vpinsrw =Vx Hx Ey Ib
c5.66.r.l0 vpextrw =Gy Ux Ib
c6.np.w0 vshufps =Vx Hx Wx Ib MASK Z BC
c6.66.w1 vshufpd =Vx Hx Wx Ib MASK Z BC
d1.66 vpsrlw =Vx Hx Wx MASK Z
d2.66.w0 vpsrld =Vx Hx Wx MASK Z
d3.66.w1 vpsrlq =Vx Hx Wx MASK Z
d4.66.w1 vpaddq =Vx Hx Wx MASK Z BC
d5.66 vpmullw =Vx Hx Wx MASK Z
d6.66.w1.l0 vmovq =Wx Vx
d8.66 vpsubusb =Vx Hx Wx MASK Z
d9.66 vpsubusw =Vx Hx Wx MASK Z
da.66 vpminub =Vx Hx Wx MASK Z
db.66.w0 vpandd =Vx Hx Wx MASK Z BC
db.66.w1 vpandq =Vx Hx Wx MASK Z BC
dc.66 vpaddusb =Vx Hx Wx MASK Z
dd.66 vpaddusw =Vx Hx Wx MASK Z
de.66 vpmaxub =Vx Hx Wx MASK Z
df.66.w0 vpandnd =Vx Hx Wx MASK Z BC
df.66.w1 vpandnq =Vx Hx Wx MASK Z BC
e0.66 vpavgb =Vx Hx Wx MASK Z
e1.66 vpsraw =Vx Hx Wx MASK Z
e2.66.w0 vpsrad =Vx Hx Wx MASK Z
e2.66.w1 vpsraq =Vx Hx Wx MASK Z
e3.66 vpavgw =Vx Hx Wx MASK Z
e4.66 vpmulhuw =Vx Hx Wx MASK Z
e5.66 vpmulhw =Vx Hx Wx MASK Z
e6.66.w1 vcvttpd2dq =Vx Wx MASK Z BC SAE
e6.f3.w0 vcvtdq2pd =Vx Wx MASK Z BC ER
e6.f3.w1 vcvtqq2pd =Vx Wx MASK Z BC ER
e6.f2.w1 vcvtpd2dq =Vx Wx MASK Z BC ER
e7.66.m.w0 vmovntdq =Mx Vx
e8.66 vpsubsb =Vx Hx Wx MASK Z
e9.66 vpsubsw =Vx Hx Wx MASK Z
ea.66 vpminsw =Vx Hx Wx MASK Z
eb.66.w0 vpord =Vx Hx Wx MASK Z BC
eb.66.w1 vporq =Vx Hx Wx MASK Z BC
ec.66 vpaddsb =Vx Hx Wx MASK Z
ed.66 vpaddsw =Vx Hx Wx MASK Z
ee.66 vpmaxsw =Vx Hx Wx MASK Z
ef.66.w0 vpxord =Vx Hx Wx MASK Z BC
ef.66.w1 vpxorq =Vx Hx Wx MASK Z BC
f1.66 vpsllw =Vx Hx Wx MASK Z
f2.66.w0 vpslld =Vx Hx Wx MASK Z
f3.66.w1 vpsllq =Vx Hx Wx MASK Z
f4.66.w1 vpmuludq =Vx Hx Wx MASK Z BC
f5.66 vpmaddwd =Vx Hx Wx MASK Z
f6.66 vpsadbw =Vx Hx Wx
f8.66 vpsubb =Vx Hx Wx MASK Z
f9.66 vpsubw =Vx Hx Wx MASK Z
fa.66.w0 vpsubd =Vx Hx Wx MASK Z BC
fb.66.w1 vpsubq =Vx Hx Wx MASK Z BC
fc.66 vpaddb =Vx Hx Wx MASK Z
fd.66 vpaddw =Vx Hx Wx MASK Z
fe.66.w0 vpaddd =Vx Hx Wx MASK Z BC
"""

EVEX2 = """
00.66 vpshufb =Vx Hx Wx MASK Z
04.66 vpmaddubsw =Vx Hx Wx MASK Z
0b.66 vpmulhrsw =Vx Hx Wx MASK Z
0c.66.w0 vpermilps =Vx Hx Wx MASK Z BC
0d.66.w1 vpermilpd =Vx Hx Wx MASK Z BC
10.66.w1 vpsrlvw =Vx Hx Wx MASK Z
10.f3.w0 vpmovuswb =Wx Vx MASK Z
11.66.w1 vpsravw =Vx Hx Wx MASK Z
11.f3.w0 vpmovusdb =Wx Vx MASK Z
12.66.w1 vpsllvw =Vx Hx Wx MASK Z
12.f3.w0 vpmovusqb =Wx Vx MASK Z
13.66.w0 vcvtph2ps =Vx Wx MASK Z SAE
13.f3.w0 vpmovusdw =Wx Vx MASK Z
14.66.w0 vprorvd =Vx Hx Wx MASK Z BC
14.66.w1 vprorvq =Vx Hx Wx MASK Z BC
14.f3.w0 vpmovusqw =Wx Vx MASK Z
15.66.w0 vprolvd =Vx Hx Wx MASK Z BC
15.66.w1 vprolvq =Vx Hx Wx MASK Z BC
15.f3.w0 vpmovusqd =Wx Vx MASK Z
16.66.w0.l12 vpermps =Vx Hx Wx MASK Z BC
16.66.w1.l12 vpermpd =Vx Hx Wx MASK Z BC
18.66.w0 vbroadcastss =Vx Wx MASK Z
19.66.w0.l12 vbroadcastf32x2 =Vx Wx MASK Z
19.66.w1.l12 vbroadcastsd =Vx Wx MASK Z
1a.66.m.w0.l12 vbroadcastf32x4 =Vx Mx MASK Z
1a.66.m.w1.l12 vbroadcastf64x2 =Vx Mx MASK Z
1b.66.m.w0.l2 vbroadcastf32x8 =Vx Mx MASK Z
1b.66.m.w1.l2 vbroadcastf64x4 =Vx Mx MASK Z
1c.66 vpabsb =Vx Wx MASK Z
1d.66 vpabsw =Vx Wx MASK Z
1e.66.w0 vpabsd =Vx Wx MASK Z BC
1f.66.w1 vpabsq =Vx Wx MASK Z BC
20.66 vpmovsxbw =Vx Wx MASK Z
20.f3.w0 vpmovswb =Wx Vx MASK Z
21.66 vpmovsxbd =Vx Wx MASK Z
21.f3.w0 vpmovsdb =Wx Vx MASK Z
22.66 vpmovsxbq =Vx Wx MASK Z
22.f3.w0 vpmovsqb =Wx Vx MASK Z
23.66 vpmovsxwd =Vx Wx MASK Z
23.f3.w0 vpmovsdw =Wx Vx MASK Z
24.66 vpmovsxwq =Vx Wx MASK Z
24.f3.w0 vpmovsqw =Wx Vx MASK Z
25.66.w0 vpmovsxdq =Vx Wx MASK Z
25.f3.w0 vpmovsqd =Wx Vx MASK Z
26.66.w0 vptestmb =kG Hx Wx MASK
26.66.w1 vptestmw =kG Hx Wx MASK
26.f3.w0 vptestnmb =kG Hx Wx MASK
26.f3.w1 vptestnmw =kG Hx Wx MASK
27.66.w0 vptestmd =kG Hx Wx MASK BC
27.66.w1 vptestmq =kG Hx Wx MASK BC
27.f3.w0 vptestnmd =kG Hx Wx MASK BC
27.f3.w1 vptestnmq =kG Hx Wx MASK BC
28.66.w1 vpmuldq =Vx Hx Wx MASK Z BC
28.f3.r.w0 vpmovm2b =Vx kE
28.f3.r.w1 vpmovm2w =Vx kE
29.66.w1 vpcmpeqq =kG Hx Wx MASK BC
29.f3.r.w0 vpmovb2m =kG Ux
29.f3.r.w1 vpmovw2m =kG Ux
2a.66.m.w0 vmovntdqa =Vx Mx
2a.f3.r.w1 vpbroadcastmb2q =Vx kE
2b.66.w0 vpackusdw =Vx Hx Wx MASK Z BC
2c.66.w0 vscalefps =Vx Hx Wx MASK Z BC ER
2c.66.w1 vscalefpd =Vx Hx Wx MASK Z BC ER
2d.66.w0 vscalefss =Vx Hx Wx MASK Z ER
2d.66.w1 vscalefsd =Vx Hx Wx MASK Z ER
30.66 vpmovzxbw =Vx Wx MASK Z
30.f3.w0 vpmovwb =Wx Vx MASK Z
31.66 vpmovzxbd =Vx Wx MASK Z
31.f3.w0 vpmovdb =Wx Vx MASK Z
32.66 vpmovzxbq =Vx Wx MASK Z
32.f3.w0 vpmovqb =Wx Vx MASK Z
33.66 vpmovzxwd =Vx Wx MASK Z
33.f3.w0 vpmovdw =Wx Vx MASK Z
34.66 vpmovzxwq =Vx Wx MASK Z
34.f3.w0 vpmovqw =Wx Vx MASK Z
35.66.w0 vpmovzxdq =Vx Wx MASK Z
35.f3.w0 vpmovqd =Wx Vx MASK Z
36.66.w0.l12 vpermd =Vx Hx Wx MASK Z BC
36.66.w1.l12 vpermq =Vx Hx Wx MASK Z BC
37.66.w1 vpcmpgtq =kG Hx Wx MASK BC
38.66 vpminsb =Vx Hx Wx MASK Z
38.f3.r.w0 vpmovm2d =Vx kE
38.f3.r.w1 vpmovm2q =Vx kE
39.66.w0 vpminsd =Vx Hx Wx MASK Z BC
39.66.w1 vpminsq =Vx Hx Wx MASK Z BC
39.f3.r.w0 vpmovd2m =kG Ux
39.f3.r.w1 vpmovq2m =kG Ux
3a.66 vpminuw =Vx Hx Wx MASK Z
3a.f3.r.w0 vpbroadcastmw2d =Vx kE
3b.66.w0 vpminud =Vx Hx Wx MASK Z BC
3b.66.w1 vpminuq =Vx Hx Wx MASK Z BC
3c.66 vpmaxsb =Vx Hx Wx MASK Z
3d.66.w0 vpmaxsd =Vx Hx Wx MASK Z BC
3d.66.w1 vpmaxsq =Vx Hx Wx MASK Z BC
3e.66 vpmaxuw =Vx Hx Wx MASK Z
3f.66.w0 vpmaxud =Vx Hx Wx MASK Z BC
3f.66.w1 vpmaxuq =Vx Hx Wx MASK Z BC
40.66.w0 vpmulld =Vx Hx Wx MASK Z BC
40.66.w1 vpmullq =Vx Hx Wx MASK Z BC
42.66.w0 vgetexpps =Vx Wx MASK Z BC SAE
42.66.w1 vgetexppd =Vx Wx MASK Z BC SAE
43.66.w0 vgetexpss =Vx Hx Wx MASK Z SAE
43.66.w1 vgetexpsd =Vx Hx Wx MASK Z SAE
44.66.w0 vplzcntd =Vx Wx MASK Z BC
44.66.w1 vplzcntq =Vx Wx MASK Z BC
45.66.w0 vpsrlvd =Vx Hx Wx MASK Z BC
45.66.w1 vpsrlvq =Vx Hx Wx MASK Z BC
46.66.w0 vpsravd =Vx Hx Wx MASK Z BC
46.66.w1 vpsravq =Vx Hx Wx MASK Z BC
47.66.w0 vpsllvd =Vx Hx Wx MASK Z BC
47.66.w1 vpsllvq =Vx Hx Wx MASK Z BC
4c.66.w0 vrcp14ps =Vx Wx MASK Z BC
4c.66.w1 vrcp14pd =Vx Wx MASK Z BC
4d.66.w0 vrcp14ss =Vx Hx Wx MASK Z
4d.66.w1 vrcp14sd =Vx Hx Wx MASK Z
4e.66.w0 vrsqrt14ps =Vx Wx MASK Z BC
4e.66.w1 vrsqrt14pd =Vx Wx MASK Z BC
4f.66.w0 vrsqrt14ss =Vx Hx Wx MASK Z
4f.66.w1 vrsqrt14sd =Vx Hx Wx MASK Z
50.66.w0 vpdpbusd +Vx Hx Wx MASK Z BC
51.66.w0 vpdpbusds +Vx Hx Wx MASK Z BC
52.66.w0 vpdpwssd +Vx Hx Wx MASK Z BC
52.f3.w0 vdpbf16ps +Vx Hx Wx MASK Z BC
52.f2.m.w0.l2 vp4dpwssd +Vx Hx Mx MASK Z
53.66.w0 vpdpwssds +Vx Hx Wx MASK Z BC
53.f2.m.w0.l2 vp4dpwssds +Vx Hx Mx MASK Z
54.66.w0 vpopcntb =Vx Wx MASK Z
54.66.w1 vpopcntw =Vx Wx MASK Z
55.66.w0 vpopcntd =Vx Wx MASK Z BC
55.66.w1 vpopcntq =Vx Wx MASK Z BC
58.66.w0 vpbroadcastd =Vx Wx MASK Z
59.66.w0 vbroadcasti32x2 =Vx Wx MASK Z
59.66.w1 vpbroadcastq =Vx Wx MASK Z
5a.66.m.w0.l12 vbroadcasti32x4 =Vx Mx MASK Z
5a.66.m.w1.l12 vbroadcasti64x2 =Vx Mx MASK Z
5b.66.m.w0.l2 vbroadcasti32x8 =Vx Mx MASK Z
5b.66.m.w1.l2 vbroadcasti64x4 =Vx Mx MASK Z
62.66.w0 vpexpandb =Vx Wx MASK Z
62.66.w1 vpexpandw =Vx Wx MASK Z
63.66.w0 vpcompressb =Wx Vx MASK Z
63.66.w1 vpcompressw =Wx Vx MASK Z
64.66.w0 vpblendmd =Vx Hx Wx MASK Z BC
64.66.w1 vpblendmq =Vx Hx Wx MASK Z BC
65.66.w0 vblendmps =Vx Hx Wx MASK Z BC
65.66.w1 vblendmpd =Vx Hx Wx MASK Z BC
66.66.w0 vpblendmb =Vx Hx Wx MASK Z
66.66.w1 vpblendmw =Vx Hx Wx MASK Z
68.f2.w0 vp2intersectd =kP Hx Wx BC
68.f2.w1 vp2intersectq =kP Hx Wx BC
70.66.w1 vpshldvw +Vx Hx Wx MASK Z
71.66.w0 vpshldvd +Vx Hx Wx MASK Z BC
71.66.w1 vpshldvq +Vx Hx Wx MASK Z BC
72.66.w1 vpshrdvw +Vx Hx Wx MASK Z
72.f3.w0 vcvtneps2bf16 =Vx Wx MASK Z BC
72.f2.w0 vcvtne2ps2bf16 =Vx Hx Wx MASK Z BC
73.66.w0 vpshrdvd +Vx Hx Wx MASK Z BC
73.66.w1 vpshrdvq +Vx Hx Wx MASK Z BC
75.66.w0 vpermi2b +Vx Hx Wx MASK Z
75.66.w1 vpermi2w +Vx Hx Wx MASK Z
76.66.w0 vpermi2d +Vx Hx Wx MASK Z BC
76.66.w1 vpermi2q +Vx Hx Wx MASK Z BC
77.66.w0 vpermi2ps +Vx Hx Wx MASK Z BC
77.66.w1 vpermi2pd +Vx Hx Wx MASK Z BC
78.66.w0 vpbroadcastb =Vx Wx MASK Z
79.66.w0 vpbroadcastw =Vx Wx MASK Z
7a.66.r.w0 vpbroadcastb =Vx Rd MASK Z
7b.66.r.w0 vpbroadcastw =Vx Rd MASK Z
7c.66.r vpbroadcastd|vpbroadcastd|vpbroadcastq =Vx Ry MASK Z
7d.66.w0 vpermt2b +Vx Hx Wx MASK Z
7d.66.w1 vpermt2w +Vx Hx Wx MASK Z
7e.66.w0 vpermt2d +Vx Hx Wx MASK Z BC
7e.66.w1 vpermt2q +Vx Hx Wx MASK Z BC
7f.66.w0 vpermt2ps +Vx Hx Wx MASK Z BC
7f.66.w1 vpermt2pd +Vx Hx Wx MASK Z BC
83.66.w1 vpmultishiftqb =Vx Hx Wx MASK Z BC
88.66.w0 vexpandps =Vx Wx MASK Z
88.66.w1 vexpandpd =Vx Wx MASK Z
89.66.w0 vpexpandd =Vx Wx MASK Z
89.66.w1 vpexpandq =Vx Wx MASK Z
8a.66.w0 vcompressps =Wx Vx MASK Z
8a.66.w1 vcompresspd =Wx Vx MASK Z
8b.66.w0 vpcompressd =Wx Vx MASK Z
8b.66.w1 vpcompressq =Wx Vx MASK Z
8d.66.w0 vpermb =Vx Hx Wx MASK Z
8d.66.w1 vpermw =Vx Hx Wx MASK Z
8f.66.w0 vpshufbitqmb =kG Hx Wx MASK
90.66.m.w0.l01 vpgatherdd +Vx Mx VSIB MASKREQ UNIQUE
90.66.m.w1.l01 vpgatherdq +Vx Mx VSIB MASKREQ UNIQUE
90.66.m.w0.l2 vpgatherdd ?Vx Mx VSIB MASKREQ UNIQUE
90.66.m.w1.l2 vpgatherdq ?Vx Mx VSIB MASKREQ UNIQUE
91.66.m.w0 vpgatherqd +Vx Mx VSIB MASKREQ UNIQUE
91.66.m.w1.l01 vpgatherqq +Vx Mx VSIB MASKREQ UNIQUE
91.66.m.w1.l2 vpgatherqq ?Vx Mx VSIB MASKREQ UNIQUE
92.66.m.w0.l01 vgatherdps +Vx Mx VSIB MASKREQ UNIQUE
92.66.m.w1.l01 vgatherdpd +Vx Mx VSIB MASKREQ UNIQUE
92.66.m.w0.l2 vgatherdps ?Vx Mx VSIB MASKREQ UNIQUE
92.66.m.w1.l2 vgatherdpd ?Vx Mx VSIB MASKREQ UNIQUE
93.66.m.w0 vgatherqps +Vx Mx VSIB MASKREQ UNIQUE
93.66.m.w1.l01 vgatherqpd +Vx Mx VSIB MASKREQ UNIQUE
93.66.m.w1.l2 vgatherqpd ?Vx Mx VSIB MASKREQ UNIQUE
96.66.w0 vfmaddsub132ps +Vx Hx Wx MASK Z BC ER
96.66.w1 vfmaddsub132pd +Vx Hx Wx MASK Z BC ER
97.66.w0 vfmsubadd132ps +Vx Hx Wx MASK Z BC ER
97.66.w1 vfmsubadd132pd +Vx Hx Wx MASK Z BC ER
98.66.w0 vfmadd132ps +Vx Hx Wx MASK Z BC ER
98.66.w1 vfmadd132pd +Vx Hx Wx MASK Z BC ER
99.66.w0 vfmadd132ss +Vx Hx Wx MASK Z ER
99.66.w1 vfmadd132sd +Vx Hx Wx MASK Z ER
9a.66.w0 vfmsub132ps +Vx Hx Wx MASK Z BC ER
9a.66.w1 vfmsub132pd +Vx Hx Wx MASK Z BC ER
9a.f2.m.w0.l2 v4fmaddps +Vx Hx Mx MASK Z
9b.66.w0 vfmsub132ss +Vx Hx Wx MASK Z ER
9b.66.w1 vfmsub132sd +Vx Hx Wx MASK Z ER
9b.f2.m.w0 v4fmaddss +Vx Hx Mx MASK Z
9c.66.w0 vfnmadd132ps +Vx Hx Wx MASK Z BC ER
9c.66.w1 vfnmadd132pd +Vx Hx Wx MASK Z BC ER
9d.66.w0 vfnmadd132ss +Vx Hx Wx MASK Z ER
9d.66.w1 vfnmadd132sd +Vx Hx Wx MASK Z ER
9e.66.w0 vfnmsub132ps +Vx Hx Wx MASK Z BC ER
9e.66.w1 vfnmsub132pd +Vx Hx Wx MASK Z BC ER
9f.66.w0 vfnmsub132ss +Vx Hx Wx MASK Z ER
9f.66.w1 vfnmsub132sd +Vx Hx Wx MASK Z ER
a0.66.m.w0 vpscatterdd ?Mx Vx VSIB MASKREQ
a0.66.m.w1 vpscatterdq ?Mx Vx VSIB MASKREQ
a1.66.m.w0 vpscatterqd ?Mx Vx VSIB MASKREQ
a1.66.m.w1 vpscatterqq ?Mx Vx VSIB MASKREQ
a2.66.m.w0 vscatterdps ?Mx Vx VSIB MASKREQ
a2.66.m.w1 vscatterdpd ?Mx Vx VSIB MASKREQ
a3.66.m.w0 vscatterqps ?Mx Vx VSIB MASKREQ
a3.66.m.w1 vscatterqpd ?Mx Vx VSIB MASKREQ
a6.66.w0 vfmaddsub213ps +Vx Hx Wx MASK Z BC ER
a6.66.w1 vfmaddsub213pd +Vx Hx Wx MASK Z BC ER
a7.66.w0 vfmsubadd213ps +Vx Hx Wx MASK Z BC ER
a7.66.w1 vfmsubadd213pd +Vx Hx Wx MASK Z BC ER
a8.66.w0 vfmadd213ps +Vx Hx Wx MASK Z BC ER
a8.66.w1 vfmadd213pd +Vx Hx Wx MASK Z BC ER
a9.66.w0 vfmadd213ss +Vx Hx Wx MASK Z ER
a9.66.w1 vfmadd213sd +Vx Hx Wx MASK Z ER
aa.66.w0 vfmsub213ps +Vx Hx Wx MASK Z BC ER
aa.66.w1 vfmsub213pd +Vx Hx Wx MASK Z BC ER
aa.f2.m.w0.l2 v4fnmaddps +Vx Hx Mx MASK Z
ab.66.w0 vfmsub213ss +Vx Hx Wx MASK Z ER
ab.66.w1 vfmsub213sd +Vx Hx Wx MASK Z ER
ab.f2.m.w0 v4fnmaddss +Vx Hx Mx MASK Z
ac.66.w0 vfnmadd213ps +Vx Hx Wx MASK Z BC ER
ac.66.w1 vfnmadd213pd +Vx Hx Wx MASK Z BC ER
ad.66.w0 vfnmadd213ss +Vx Hx Wx MASK Z ER
ad.66.w1 vfnmadd213sd +Vx Hx Wx MASK Z ER
ae.66.w0 vfnmsub213ps +Vx Hx Wx MASK Z BC ER
ae.66.w1 vfnmsub213pd +Vx Hx Wx MASK Z BC ER
af.66.w0 vfnmsub213ss +Vx Hx Wx MASK Z ER
af.66.w1 vfnmsub213sd +Vx Hx Wx MASK Z ER
b4.66.w1 vpmadd52luq +Vx Hx Wx MASK Z BC
b5.66.w1 vpmadd52huq +Vx Hx Wx MASK Z BC
b6.66.w0 vfmaddsub231ps +Vx Hx Wx MASK Z BC ER
b6.66.w1 vfmaddsub231pd +Vx Hx Wx MASK Z BC ER
b7.66.w0 vfmsubadd231ps +Vx Hx Wx MASK Z BC ER
b7.66.w1 vfmsubadd231pd +Vx Hx Wx MASK Z BC ER
b8.66.w0 vfmadd231ps +Vx Hx Wx MASK Z BC ER
b8.66.w1 vfmadd231pd +Vx Hx Wx MASK Z BC ER
b9.66.w0 vfmadd231ss +Vx Hx Wx MASK Z ER
b9.66.w1 vfmadd231sd +Vx Hx Wx MASK Z ER
ba.66.w0 vfmsub231ps +Vx Hx Wx MASK Z BC ER
ba.66.w1 vfmsub231pd +Vx Hx Wx MASK Z BC ER
bb.66.w0 vfmsub231ss +Vx Hx Wx MASK Z ER
bb.66.w1 vfmsub231sd +Vx Hx Wx MASK Z ER
bc.66.w0 vfnmadd231ps +Vx Hx Wx MASK Z BC ER
bc.66.w1 vfnmadd231pd +Vx Hx Wx MASK Z BC ER
bd.66.w0 vfnmadd231ss +Vx Hx Wx MASK Z ER
bd.66.w1 vfnmadd231sd +Vx Hx Wx MASK Z ER
be.66.w0 vfnmsub231ps +Vx Hx Wx MASK Z BC ER
be.66.w1 vfnmsub231pd +Vx Hx Wx MASK Z BC ER
bf.66.w0 vfnmsub231ss +Vx Hx Wx MASK Z ER
bf.66.w1 vfnmsub231sd +Vx Hx Wx MASK Z ER
c4.66.w0 vpconflictd =Vx Wx MASK Z BC
c4.66.w1 vpconflictq =Vx Wx MASK Z BC
c6.66./1.m.w0.l2 vgatherpf0dps @Mx VSIB MASKREQ
c6.66./1.m.w1.l2 vgatherpf0dpd @Mx VSIB MASKREQ
c6.66./2.m.w0.l2 vgatherpf1dps @Mx VSIB MASKREQ
c6.66./2.m.w1.l2 vgatherpf1dpd @Mx VSIB MASKREQ
c6.66./5.m.w0.l2 vscatterpf0dps @Mx VSIB MASKREQ
c6.66./5.m.w1.l2 vscatterpf0dpd @Mx VSIB MASKREQ
c6.66./6.m.w0.l2 vscatterpf1dps @Mx VSIB MASKREQ
c6.66./6.m.w1.l2 vscatterpf1dpd @Mx VSIB MASKREQ
c7.66./1.m.w0.l2 vgatherpf0qps @Mx VSIB MASKREQ
c7.66./1.m.w1.l2 vgatherpf0qpd @Mx VSIB MASKREQ
c7.66./2.m.w0.l2 vgatherpf1qps @Mx VSIB MASKREQ
c7.66./2.m.w1.l2 vgatherpf1qpd @Mx VSIB MASKREQ
c7.66./5.m.w0.l2 vscatterpf0qps @Mx VSIB MASKREQ
c7.66./5.m.w1.l2 vscatterpf0qpd @Mx VSIB MASKREQ
c7.66./6.m.w0.l2 vscatterpf1qps @Mx VSIB MASKREQ
c7.66./6.m.w1.l2 vscatterpf1qpd @Mx VSIB MASKREQ
c8.66.w0.l2 vexp2ps =Vx Wx MASK Z BC SAE
c8.66.w1.l2 vexp2pd =Vx Wx MASK Z BC SAE
ca.66.w0.l2 vrcp28ps =Vx Wx MASK Z BC SAE
ca.66.w1.l2 vrcp28pd =Vx Wx MASK Z BC SAE
cb.66.w0 vrcp28ss =Vx Hx Wx MASK Z SAE
cb.66.w1 vrcp28sd =Vx Hx Wx MASK Z SAE
cc.66.w0.l2 vrsqrt28ps =Vx Wx MASK Z BC SAE
cc.66.w1.l2 vrsqrt28pd =Vx Wx MASK Z BC SAE
cd.66.w0 vrsqrt28ss =Vx Hx Wx MASK Z SAE
cd.66.w1 vrsqrt28sd =Vx Hx Wx MASK Z SAE
cf.66.w0 vgf2p8mulb =Vx Hx Wx MASK Z
dc.66 vaesenc =Vx Hx Wx
dd.66 vaesenclast =Vx Hx Wx
de.66 vaesdec =Vx Hx Wx
df.66 vaesdeclast =Vx Hx Wx
"""

EVEX3 = """
00.66.w1.l12 vpermq =Vx Wx Ib MASK Z BC
01.66.w1.l12 vpermpd =Vx Wx Ib MASK Z BC
03.66.w0 valignd =Vx Hx Wx Ib MASK Z BC
03.66.w1 valignq =Vx Hx Wx Ib MASK Z BC
04.66.w0 vpermilps =Vx Wx Ib MASK Z BC
05.66.w1 vpermilpd =Vx Wx Ib MASK Z BC
08.np.w0 vrndscaleph =Vx Wx Ib MASK Z BC SAE
08.66.w0 vrndscaleps =Vx Wx Ib MASK Z BC SAE
09.66.w1 vrndscalepd =Vx Wx Ib MASK Z BC SAE
0a.np.w0 vrndscalesh =Vx Hx Wx Ib MASK Z SAE
0a.66.w0 vrndscaless =Vx Hx Wx Ib MASK Z SAE
0b.66.w1 vrndscalesd =Vx Hx Wx Ib MASK Z SAE
0f.66 vpalignr =Vx Hx Wx Ib MASK Z
14.66.l0 vpextrb =Ey Vx Ib
15.66.l0 vpextrw =Ey Vx Ib
16.66.l0 vpextrd|vpextrd|vpextrq =Ey Vx Ib
17.66.l0 vextractps =Ey Vx Ib
18.66.w0.l12 vinsertf32x4 =Vx Hx Wx Ib MASK Z
18.66.w1.l12 vinsertf64x2 =Vx Hx Wx Ib MASK Z
19.66.w0.l12 vextractf32x4 =Wx Vx Ib MASK Z
19.66.w1.l12 vextractf64x2 =Wx Vx Ib MASK Z
1a.66.w0.l2 vinsertf32x8 =Vx Hx Wx Ib MASK Z
1a.66.w1.l2 vinsertf64x4 =Vx Hx Wx Ib MASK Z
1b.66.w0.l2 vextractf32x8 =Wx Vx Ib MASK Z
1b.66.w1.l2 vextractf64x4 =Wx Vx Ib MASK Z
1d.66.w0 vcvtps2ph =Wx Vx Ib MASK Z SAE
1e.66.w0 vpcmpud =kG Hx Wx Ib MASK BC
1e.66.w1 vpcmpuq =kG Hx Wx Ib MASK BC
1f.66.w0 vpcmpd =kG Hx Wx Ib MASK BC
1f.66.w1 vpcmpq =kG Hx Wx Ib MASK BC
20.66.l0 vpinsrb =Vx Hx Ey Ib
21.66.w0.l0 vinsertps =Vx Hx Wx Ib
22.66.l0 vpinsrd|vpinsrd|vpinsrq =Vx Hx Ey Ib
23.66.w0.l12 vshuff32x4 =Vx Hx Wx Ib MASK Z BC
23.66.w1.l12 vshuff64x2 =Vx Hx Wx Ib MASK Z BC
25.66.w0 vpternlogd +Vx Hx Wx Ib MASK Z BC
25.66.w1 vpternlogq +Vx Hx Wx Ib MASK Z BC
26.np.w0 vgetmantph =Vx Wx Ib MASK Z BC SAE
26.66.w0 vgetmantps =Vx Wx Ib MASK Z BC SAE
26.66.w1 vgetmantpd =Vx Wx Ib MASK Z BC SAE
27.np.w0 vgetmantsh =Vx Hx Wx Ib MASK Z SAE
27.66.w0 vgetmantss =Vx Hx Wx Ib MASK Z SAE
27.66.w1 vgetmantsd =Vx Hx Wx Ib MASK Z SAE
38.66.w0.l12 vinserti32x4 =Vx Hx Wx Ib MASK Z
38.66.w1.l12 vinserti64x2 =Vx Hx Wx Ib MASK Z
39.66.w0.l12 vextracti32x4 =Wx Vx Ib MASK Z
39.66.w1.l12 vextracti64x2 =Wx Vx Ib MASK Z
3a.66.w0.l2 vinserti32x8 =Vx Hx Wx Ib MASK Z
3a.66.w1.l2 vinserti64x4 =Vx Hx Wx Ib MASK Z
3b.66.w0.l2 vextracti32x8 =Wx Vx Ib MASK Z
3b.66.w1.l2 vextracti64x4 =Wx Vx Ib MASK Z
3e.66.w0 vpcmpub =kG Hx Wx Ib MASK
3e.66.w1 vpcmpuw =kG Hx Wx Ib MASK
3f.66.w0 vpcmpb =kG Hx Wx Ib MASK
3f.66.w1 vpcmpw =kG Hx Wx Ib MASK
42.66.w0 vdbpsadbw =Vx Hx Wx Ib MASK Z
43.66.w0.l12 vshufi32x4 =Vx Hx Wx Ib MASK Z BC
43.66.w1.l12 vshufi64x2 =Vx Hx Wx Ib MASK Z BC
44.66 vpclmulqdq =Vx Hx Wx Ib
50.66.w0 vrangeps =Vx Hx Wx Ib MASK Z BC SAE
50.66.w1 vrangepd =Vx Hx Wx Ib MASK Z BC SAE
51.66.w0 vrangess =Vx Hx Wx Ib MASK Z SAE
51.66.w1 vrangesd =Vx Hx Wx Ib MASK Z SAE
54.66.w0 vfixupimmps +Vx Hx Wx Ib MASK Z BC SAE
54.66.w1 vfixupimmpd +Vx Hx Wx Ib MASK Z BC SAE
55.66.w0 vfixupimmss +Vx Hx Wx Ib MASK Z SAE
55.66.w1 vfixupimmsd +Vx Hx Wx Ib MASK Z SAE
56.np.w0 vreduceph =Vx Wx Ib MASK Z BC SAE
56.66.w0 vreduceps =Vx Wx Ib MASK Z BC SAE
56.66.w1 vreducepd =Vx Wx Ib MASK Z BC SAE
57.np.w0 vreducesh =Vx Hx Wx Ib MASK Z SAE
57.66.w0 vreducess =Vx Hx Wx Ib MASK Z SAE
57.66.w1 vreducesd =Vx Hx Wx Ib MASK Z SAE
66.np.w0 vfpclassph =kG Wx Ib MASK BC
66.66.w0 vfpclassps =kG Wx Ib MASK BC
66.66.w1 vfpclasspd =kG Wx Ib MASK BC
67.np.w0 vfpclasssh =kG Wx Ib MASK
67.66.w0 vfpclassss =kG Wx Ib MASK
67.66.w1 vfpclasssd =kG Wx Ib MASK
70.66.w1 vpshldw =Vx Hx Wx Ib MASK Z
71.66.w0 vpshldd =Vx Hx Wx Ib MASK Z BC
71.66.w1 vpshldq =Vx Hx Wx Ib MASK Z BC
72.66.w1 vpshrdw =Vx Hx Wx Ib MASK Z
73.66.w0 vpshrdd =Vx Hx Wx Ib MASK Z BC
73.66.w1 vpshrdq =Vx Hx Wx Ib MASK Z BC
c2.np.w0 vcmpph =kG Hx Wx Ib MASK BC SAE
c2.f3.w0 vcmpsh =kG Hx Wx Ib MASK SAE
ce.66.w1 vgf2p8affineqb =Vx Hx Wx Ib MASK Z BC
cf.66.w1 vgf2p8affineinvqb =Vx Hx Wx Ib MASK Z BC
"""

EVEX4 = """
00-23 apx Ey !apx
24 apx Ey Ib !apx
25-2b apx Ey !apx
2c apx Ey Ib !apx
2d-68 apx Ey !apx
69 apx Ey Iz !apx
6a apx Ey !apx
6b apx Ey Ib !apx
6c-7f apx Ey !apx
80 apx Ey Ib !apx
81 apx Ey Iz !apx
82 apx Ey !apx
83 apx Ey Ib !apx
84-bf apx Ey !apx
c0-c1 apx Ey Ib !apx
c2-f5 apx Ey !apx
f6./0-1 apx Ey Ib !apx
f6./2-7 apx Ey !apx
f7./0-1 apx Ey Iz !apx
f7./2-7 apx Ey !apx
f8-ff apx Ey !apx
"""

EVEX5 = """
10.f3.m.w0 vmovsh =Vx Mx MASK Z
10.f3.r.w0 vmovsh =Vx Hx Ux MASK Z
11.f3.m.w0 vmovsh =Mx Vx MASK
11.f3.r.w0 vmovsh =Ux Hx Vx MASK Z
1d.np.w0 vcvtss2sh =Vx Hx Wx MASK Z ER
1d.66.w0 vcvtps2phx =Vx Wx MASK Z BC ER
2a.f3 vcvtsi2sh =Vx Hx Ey ER
2c.f3 vcvttsh2si =Gy Wx SAE
2d.f3 vcvtsh2si =Gy Wx ER
2e.np.w0 vucomish Vx Wx >oszapc SAE
2f.np.w0 vcomish Vx Wx >oszapc SAE
51.np.w0 vsqrtph =Vx Wx MASK Z BC ER
51.f3.w0 vsqrtsh =Vx Hx Wx MASK Z ER
58.np.w0 vaddph =Vx Hx Wx MASK Z BC ER
58.f3.w0 vaddsh =Vx Hx Wx MASK Z ER
59.np.w0 vmulph =Vx Hx Wx MASK Z BC ER
59.f3.w0 vmulsh =Vx Hx Wx MASK Z ER
5a.np.w0 vcvtph2pd =Vx Wx MASK Z BC SAE
5a.66.w1 vcvtpd2ph =Vx Wx MASK Z BC ER
5a.f3.w0 vcvtsh2sd =Vx Hx Wx MASK Z SAE
5a.f2.w1 vcvtsd2sh =Vx Hx Wx MASK Z ER
5b.np.w0 vcvtdq2ph =Vx Wx MASK Z BC ER
5b.np.w1 vcvtqq2ph =Vx Wx MASK Z BC ER
5b.66.w0 vcvtph2dq =Vx Wx MASK Z BC ER
5b.f3.w0 vcvttph2dq =Vx Wx MASK Z BC SAE
5c.np.w0 vsubph =Vx Hx Wx MASK Z BC ER
5c.f3.w0 vsubsh =Vx Hx Wx MASK Z ER
5d.np.w0 vminph =Vx Hx Wx MASK Z BC SAE
5d.f3.w0 vminsh =Vx Hx Wx MASK Z SAE
5e.np.w0 vdivph =Vx Hx Wx MASK Z BC ER
5e.f3.w0 vdivsh =Vx Hx Wx MASK Z ER
5f.np.w0 vmaxph =Vx Hx Wx MASK Z BC SAE
5f.f3.w0 vmaxsh =Vx Hx Wx MASK Z SAE
6e.66.l0 vmovw =Vx Ey
78.np.w0 vcvttph2udq =Vx Wx MASK Z BC SAE
78.66.w0 vcvttph2uqq =Vx Wx MASK Z BC SAE
78.f3 vcvttsh2usi =Gy Wx SAE
79.np.w0 vcvtph2udq =Vx Wx MASK Z BC ER
79.66.w0 vcvtph2uqq =Vx Wx MASK Z BC ER
79.f3 vcvtsh2usi =Gy Wx ER
7a.66.w0 vcvttph2qq =Vx Wx MASK Z BC SAE
7a.f2.w0 vcvtudq2ph =Vx Wx MASK Z BC ER
7a.f2.w1 vcvtuqq2ph =Vx Wx MASK Z BC ER
7b.66.w0 vcvtph2qq =Vx Wx MASK Z BC ER
7b.f3 vcvtusi2sh =Vx Hx Ey ER
7c.np.w0 vcvttph2uw =Vx Wx MASK Z BC SAE
7c.66.w0 vcvttph2w =Vx Wx MASK Z BC SAE
7d.np.w0 vcvtph2uw =Vx Wx MASK Z BC ER
7d.66.w0 vcvtph2w =Vx Wx MASK Z BC ER
7d.f3.w0 vcvtw2ph =Vx Wx MASK Z BC ER
7d.f2.w0 vcvtuw2ph =Vx Wx MASK Z BC ER
7e.66.l0 vmovw =Ey Vx
"""

EVEX6 = """
13.np.w0 vcvtsh2ss =Vx Hx Wx MASK Z SAE
13.66.w0 vcvtph2psx =Vx Wx MASK Z BC SAE
2c.66.w0 vscalefph =Vx Hx Wx MASK Z BC ER
2d.66.w0 vscalefsh =Vx Hx Wx MASK Z ER
42.66.w0 vgetexpph =Vx Wx MASK Z BC SAE
43.66.w0 vgetexpsh =Vx Hx Wx MASK Z SAE
4c.66.w0 vrcpph =Vx Wx MASK Z BC
4d.66.w0 vrcpsh =Vx Hx Wx MASK Z
4e.66.w0 vrsqrtph =Vx Wx MASK Z BC
4f.66.w0 vrsqrtsh =Vx Hx Wx MASK Z
56.f3.w0 vfmaddcph +Vx Hx Wx MASK Z BC UNIQUE ER
56.f2.w0 vfcmaddcph +Vx Hx Wx MASK Z BC UNIQUE ER
57.f3.w0 vfmaddcsh +Vx Hx Wx MASK Z UNIQUE ER
57.f2.w0 vfcmaddcsh +Vx Hx Wx MASK Z UNIQUE ER
96.66.w0 vfmaddsub132ph +Vx Hx Wx MASK Z BC ER
97.66.w0 vfmsubadd132ph +Vx Hx Wx MASK Z BC ER
98.66.w0 vfmadd132ph +Vx Hx Wx MASK Z BC ER
99.66.w0 vfmadd132sh +Vx Hx Wx MASK Z ER
9a.66.w0 vfmsub132ph +Vx Hx Wx MASK Z BC ER
9b.66.w0 vfmsub132sh +Vx Hx Wx MASK Z ER
9c.66.w0 vfnmadd132ph +Vx Hx Wx MASK Z BC ER
9d.66.w0 vfnmadd132sh +Vx Hx Wx MASK Z ER
9e.66.w0 vfnmsub132ph +Vx Hx Wx MASK Z BC ER
9f.66.w0 vfnmsub132sh +Vx Hx Wx MASK Z ER
a6.66.w0 vfmaddsub213ph +Vx Hx Wx MASK Z BC ER
a7.66.w0 vfmsubadd213ph +Vx Hx Wx MASK Z BC ER
a8.66.w0 vfmadd213ph +Vx Hx Wx MASK Z BC ER
a9.66.w0 vfmadd213sh +Vx Hx Wx MASK Z ER
aa.66.w0 vfmsub213ph +Vx Hx Wx MASK Z BC ER
ab.66.w0 vfmsub213sh +Vx Hx Wx MASK Z ER
ac.66.w0 vfnmadd213ph +Vx Hx Wx MASK Z BC ER
ad.66.w0 vfnmadd213sh +Vx Hx Wx MASK Z ER
ae.66.w0 vfnmsub213ph +Vx Hx Wx MASK Z BC ER
af.66.w0 vfnmsub213sh +Vx Hx Wx MASK Z ER
b6.66.w0 vfmaddsub231ph +Vx Hx Wx MASK Z BC ER
b7.66.w0 vfmsubadd231ph +Vx Hx Wx MASK Z BC ER
b8.66.w0 vfmadd231ph +Vx Hx Wx MASK Z BC ER
b9.66.w0 vfmadd231sh +Vx Hx Wx MASK Z ER
ba.66.w0 vfmsub231ph +Vx Hx Wx MASK Z BC ER
bb.66.w0 vfmsub231sh +Vx Hx Wx MASK Z ER
bc.66.w0 vfnmadd231ph +Vx Hx Wx MASK Z BC ER
bd.66.w0 vfnmadd231sh +Vx Hx Wx MASK Z ER
be.66.w0 vfnmsub231ph +Vx Hx Wx MASK Z BC ER
bf.66.w0 vfnmsub231sh +Vx Hx Wx MASK Z ER
d6.f3.w0 vfmulcph =Vx Hx Wx MASK Z BC UNIQUE ER
d6.f2.w0 vfcmulcph =Vx Hx Wx MASK Z BC UNIQUE ER
d7.f3.w0 vfmulcsh =Vx Hx Wx MASK Z UNIQUE ER
d7.f2.w0 vfcmulcsh =Vx Hx Wx MASK Z UNIQUE ER
"""
