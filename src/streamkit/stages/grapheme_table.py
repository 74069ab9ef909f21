"""Kinds of characters in UAX #29, table 2, with table 1c for Indic scripts: written by tools/grapheme_table.py.

Each range is its first code point in hexadecimal and, behind a plus, how many more there are.
Hangul syllables, regional indicators, CR, LF and the two joiners are few or follow a rule: `graphemes` knows them.
"""

from __future__ import annotations

from typing import Final

__all__ = ["RANGES", "SOURCE"]

SOURCE: Final = "regex 2026.11.15"

RANGES: Final[dict[str, str]] = {
    "CONTROL": (
        "0+9 b+1 e+11 7f+20 ad 61c 180e 200b 200e+1 2028+6 2060+f feff fff0+b 13430+f 1bca0+3 1d173+7 e0000+1f e0080+7f e01f0+e0f"
    ),
    "EXTEND": (
        "300+6f 483+6 591+2c 5bf 5c1+1 5c4+1 5c7+2 610+a 64b+14 670 6d6+6 6df+5 6e7+1 6ea+3 711 730+1a 7a6+a 7eb+8 7fd "
        "816+3 81b+8 825+2 829+4 859+2 897+8 8ca+17 8e3+1f 93a 93c 941+7 951+6 962+1 981 9bc 9be 9c1+3 9d7 9e2+1 9fe "
        "a01+1 a3c a41+1 a47+1 a4b+2 a51 a70+1 a75 a81+1 abc ac1+4 ac7+1 ae2+1 afa+5 b01 b3c b3e+1 b41+3 b53+4 b62+1 b82 "
        "bbe bc0 bcd bd7 c00 c04 c3c c3e+2 c46+2 c4a+2 c55+1 c62+1 c81 cbc cbf+1 cc2 cc6+2 cca+3 cd5+1 ce2+1 d00+1 d3b+1 "
        "d3e d41+3 d57 d62+1 d81 dca dcf dd2+2 dd6 ddf e31 e34+6 e47+7 eb1 eb4+8 ec8+6 f18+1 f35 f37 f39 f71+d f80+4 "
        "f86+1 f8d+a f99+23 fc6 102d+3 1032+5 103a 103d+1 1058+1 105e+2 1071+3 1082 1085+1 108d 109d 135d+2 1712+3 1732+2 "
        "1752+1 1772+1 17b4+1 17b7+6 17c6 17c9+8 17d3 17dd 180b+2 180f 1885+1 18a9 1920+2 1927+1 1932 1939+2 1a17+1 1a1b "
        "1a56 1a58+6 1a62 1a65+7 1a73+9 1a7f 1ab0+40 1b00+3 1b34+9 1b42+1 1b6b+8 1b80+1 1ba2+3 1ba8+2 1bac+1 1be6 1be8+1 "
        "1bed 1bef+4 1c2c+7 1c36+1 1cd0+2 1cd4+c 1ce2+6 1ced 1cf4 1cf8+1 1dc0+3f 20d0+20 2cef+2 2d7f 2de0+1f 302a+5 "
        "3099+1 a66f+3 a674+9 a69e+1 a6f0+1 a802 a806 a80b a825+1 a82c a8c4+1 a8e0+11 a8ff a926+7 a947+a a953 a980+2 a9b3 "
        "a9b6+3 a9bc+1 a9e5 aa29+5 aa31+1 aa35+1 aa43 aa4c aa7c aab0 aab2+2 aab7+1 aabe+1 aac1 aaec+1 abe5 abe8 abed fb1e "
        "fe00+f fe20+f ff9e+1 101fd 102e0 10376+4 10a01+2 10a05+1 10a0c+3 10a38+2 10ae5+1 10d24+3 10d69+4 10eab+1 10ecb+4 "
        "10ef0+f 10f46+a 10f82+3 11001 11038+e 11070 11073+1 1107f+2 110b3+3 110b9+1 110c2 11100+2 11127+4 1112d+5 11134 "
        "11173 11180+1 111b6+8 111c0 111c9+3 111cf 1122f+2 11234+3 1123e 11241 112df 112e3+7 11300+1 1133b+1 1133e 11340 "
        "1134d 11357 11366+6 11370+4 113b8 113bb+5 113c2 113c5 113c7+2 113ce+1 113d2 113e1+1 11438+7 11442+2 11446 1145e "
        "114b0 114b3+5 114ba 114bd 114bf+1 114c2+1 115af 115b2+3 115bc+1 115bf+1 115dc+1 11633+7 1163d 1163f+1 116ab "
        "116ad 116b0+7 1171d 1171f 11722+3 11727+4 1182f+8 11839+1 11930 1193b+2 11943 119d4+3 119da+1 119e0 11a01+9 "
        "11a33+5 11a3b+3 11a51+5 11a59+2 11a8a+c 11a98 11b60 11b62+2 11b66 11c30+6 11c38+5 11c3f 11c92+15 11caa+6 11cb2+1 "
        "11cb5+1 11d31+5 11d3a 11d3c+1 11d3f+6 11d47 11d90+1 11d95 11d97 11df0 11ef3+1 11f00+1 11f36+4 11f40+1 11f5a "
        "13440 13447+e 1611e+b 1612d+2 16af0+4 16b30+6 16f4f 16f8f+3 16fe4 16ff0+1 1bc9d+1 1cf00+2d 1cf30+16 1d127+1 "
        "1d165+4 1d16d+5 1d17b+7 1d185+6 1d1aa+3 1d242+2 1d250+2 1d25b+1 1d25f 1d280+1 1da00+36 1da3b+31 1da75 1da84 "
        "1da9b+4 1daa1+e 1e000+6 1e008+10 1e01b+6 1e023+1 1e026+4 1e08f 1e130+6 1e2ae 1e2ec+3 1e4ec+3 1e5ee+1 1e6e3 1e6e6 "
        "1e6ee+1 1e6f5 1e8d0+6 1e944+6 1f3fb+4 e0020+5f e0100+ef"
    ),
    "PREPEND": ("600+5 6dd 70f 890+1 8e2 d4e 110bd 110cd 111c2+1 113d1 1193f 11941 11a84+5 11d46 11f02"),
    "SPACING": (
        "903 93b 93e+2 949+3 94e+1 982+1 9bf+1 9c7+1 9cb+1 a03 a3e+2 a83 abe+2 ac9 acb+1 b02+1 b40 b47+1 b4b+1 bbf bc1+1 "
        "bc6+2 bca+2 c01+2 c41+3 c82+1 cbe cc1 cc3+1 cf3 d02+1 d3f+1 d46+2 d4a+2 d82+1 dd0+1 dd8+6 df2+1 e33 eb3 f3e+1 "
        "f7f 1031 103b+1 1056+1 1084 17b6 17be+7 17c7+1 1923+3 1929+2 1930+1 1933+5 1a19+1 1a55 1a57 1a6d+5 1b04 1b3e+3 "
        "1b82 1ba1 1ba6+1 1be7 1bea+2 1bee 1c24+7 1c34+1 1ce1 1cf7 a823+1 a827 a880+1 a8b4+f a952 a983 a9b4+1 a9ba+1 "
        "a9be+1 aa2f+1 aa33+1 aa4d aaeb aaee+1 aaf5 abe3+1 abe6+1 abe9+1 abec 11000 11002 11082 110b0+2 110b7+1 1112c "
        "11145+1 11182 111b3+2 111bf 111ce 1122c+2 11232+1 112e0+2 11302+1 1133f 11341+3 11347+1 1134b+1 11362+1 113b9+1 "
        "113ca 113cc+1 11435+2 11440+1 11445 114b1+1 114b9 114bb+1 114be 114c1 115b0+1 115b8+3 115be 11630+2 1163b+1 "
        "1163e 116ac 116ae+1 1171e 11726 1182c+2 11838 11931+4 11937+1 11940 11942 119d1+2 119dc+3 119e4 11a39 11a57+1 "
        "11a97 11b61 11b65 11b67 11c2f 11c3e 11ca9 11cb1 11cb4 11d8a+4 11d93+1 11d96 11ef5+1 11f03 11f34+1 11f3e+1 "
        "1612a+2 16f51+36"
    ),
    "LEADING": ("1100+5f a960+1c"),
    "VOWEL": ("1160+47 d7b0+16 16d63 16d67+3"),
    "TRAILING": ("11a8+57 d7cb+30"),
    "PICTURE": (
        "a9 ae 203c 2049 2122 2139 2194+5 21a9+1 231a+1 2328 23cf 23e9+a 23f8+2 24c2 25aa+1 25b6 25c0 25fb+3 2600+4 260e "
        "2611 2614+1 2618 261d 2620 2622+1 2626 262a 262e+1 2638+2 2640 2642 2648+b 265f+1 2663 2665+1 2668 267b 267e+1 "
        "2692+5 2699 269b+1 26a0+1 26a7 26aa+1 26b0+1 26bd+1 26c4+1 26c8 26ce+1 26d1 26d3+1 26e9+1 26f0+5 26f7+3 26fd "
        "2702 2705 2708+5 270f 2712 2714 2716 271d 2721 2728 2733+1 2744 2747 274c 274e 2753+2 2757 2763+1 2795+2 27a1 "
        "27b0 27bf 2934+1 2b05+2 2b1b+1 2b50 2b55 3030 303d 3297 3299 1f004 1f02c+3 1f094+b 1f0af+1 1f0c0 1f0cf+1 1f0f6+9 "
        "1f170+1 1f17e+1 1f18e 1f191+9 1f1af+36 1f201+e 1f21a 1f22f 1f232+8 1f23c+3 1f249+16 1f266+bb 1f324+6f 1f396+1 "
        "1f399+2 1f39e+52 1f3f3+2 1f3f7+3 1f400+fd 1f4ff+3e 1f549+5 1f550+17 1f56f+1 1f573+7 1f587 1f58a+3 1f590 1f595+1 "
        "1f5a4+1 1f5a8 1f5b1+1 1f5bc 1f5c2+2 1f5d1+2 1f5dc+2 1f5e1 1f5e3 1f5e8 1f5ef 1f5f3 1f5fa+55 1f680+45 1f6cb+7 "
        "1f6d5+10 1f6e9 1f6eb+5 1f6f3+c 1f7dc+14 1f80c+3 1f848+7 1f85a+5 1f888+7 1f8ae+1 1f8bc+3 1f8c2+d 1f8d9+26 "
        "1f90c+2e 1f93c+9 1f947+b8 1fa58+7 1fa6e+91 1fc00+3fd"
    ),
    "CONSONANT": (
        "915+24 958+7 978+7 995+13 9aa+6 9b2 9b6+3 9dc+1 9df 9f0+1 a95+13 aaa+6 ab2+1 ab5+4 af9 b15+13 b2a+6 b32+1 b35+4 "
        "b5c+1 b5f b71 c15+13 c2a+f c58+2 d15+25 1000+2a 103f 1050+5 105a+3 1061 1065+1 106e+2 1075+c 108e 1780+33 "
        "1a20+34 1b0b+1 1b13+20 1b45+7 1b83+1d 1bae+1 1bbb+2 a989+2 a98f+23 a9e0+4 a9e7+8 a9fa+4 aa60+f aa71+2 aa7a "
        "aa7e+1 aae0+a abc0+1a 10a00 10a10+3 10a15+2 10a19+1c 11103+23 11144 11147 11380+9 1138b 1138e 11390+25 11900+6 "
        "11909 1190c+7 11915+1 11918+17 11a00 11a0b+27 11a50 11a5c+27 11b0a 11df1 11f04+c 11f12+21"
    ),
    "LINKER": ("94d 9cd acd b4d c4d d4d 1039 17d2 1a60 1b44 1bab a9c0 aaf6 10a3f 11133 113d0 1193e 11a47 11a99 11f42"),
}
