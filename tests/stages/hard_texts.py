"""Texts on which token processors go wrong, each written by hand for one reason or more.

Characters that cannot be seen, or that turn the direction of what follows, are written as escapes.
"""

# ruff: noqa: E501, RUF001  # a text is one line; look-alikes are what these texts are about

from __future__ import annotations

from typing import Final

__all__ = ["HARD_TEXTS"]

HARD_TEXTS: Final[dict[str, str]] = {
    # Scripts.
    "chinese": "今天天气很好。我们去公园散步吧！你说：“好啊，几点？”她笑了……版本3.5已发布（见第2章）。",
    "chinese with latin": "请运行pip install foo。然后打开http://localhost:8000/docs！GPT-4的得分是92.5%。OK?好的.",
    "japanese": "吾輩は猫である。名前はまだ無い。「どこで生れたか」とんと見当がつかぬ。が\u3099ぎく\u3099け\u3099。ﾊﾝｶｸ｡",
    "arabic with tashkil": "السَّلَامُ عَلَيْكُمْ. كَيْفَ حَالُكَ؟ أنا بخير، شُكْرًا! الرقم ٣٫١٤؛ تمّ۔ انتهى.",
    "arabic with direction marks": "\u200fمرحبا\u200e (hello) \u202bكيف\u202c \u2067الحال\u2069؟ \u061cتم.",
    "persian": "می\u200cخواهم کتاب\u200cها را بخوانم. آیا شما هم می\u200cآیید؟ بله؛ حتماً!",
    "hebrew": 'שָׁלוֹם! מַה שְּׁלוֹמְךָ? ד״ר כהן אמר: "בסדר". ת"א 3.14.',
    "hindi": "नमस्ते दुनिया। क्षत्रिय और ज्ञान, स्त्री ने पूछा — क्या हाल है? ठीक हूँ॥ १.५ किलो।",
    "bengali and tamil": "আমি ক্ষুধার্ত। তুমি কেমন আছ? நான் நலம்; நீங்கள் எப்படி? க்ஷ ஸ்ரீ நி.",
    "thai": "สวัสดีครับ วันนี้อากาศดีมาก กำลังทำอะไรอยู่ น้ำใจ ๆ ฯลฯ ผู้ใหญ่",
    "burmese and khmer": "မြန်မာနိုင်ငံ။ ကျေးဇူးတင်ပါတယ်၊ ស្រុកខ្មែរ។ តើអ្នកសុខសប្បាយទេ?",
    "tibetan": "བཀྲ་ཤིས་བདེ་ལེགས། ཁྱེད་རང་སྐུ་གཟུགས་བདེ་པོ་ཡིན་པས།",
    "korean": "안녕하세요. 오늘 날씨가 좋네요! 정말요? 네, 3.5도입니다.",
    "korean jamo": "\u1112\u1161\u11ab\u1100\u1173\u11af \u1100\u1161\uac00\u11a8 \u1100\u1100\u1161 ㅋㅋㅋ \ua960\u1161\ud7cb.",
    "russian": "Это т.е. пример. Ул. Ленина, д. 5. А. С. Пушкин родился в 1799 г. Он писал… Да!",
    "greek": "Τι κάνεις; Καλά· εσύ; Ο Όμηρος είπε: «Μῆνιν ἄειδε θεά». Τέλος.",
    "vietnamese": "Tiê\u0301ng Vie\u0323\u0302t co\u0301 da\u0302\u0301u. Xin chào! Bạn khỏe không?",
    "turkish": "İstanbul'da ılık bir gün. I ve İ, ı ve i\u0307. Iyi mi?",
    "german": "Am 3. Oktober kam Dr. Groß z.B. um 8.30 Uhr. „Wirklich?“, fragte er. Ja! Straße ﬁn.",
    "danish quotes": "»Kommer du?« spurgte han. »Ja.« Så gik de. »Nej!« »Jo!«",
    "spanish and french": "¿Cómo estás? ¡Bien! «Ah\u00a0!\u00a0» dit-elle\u202f; puis M. Dupont, p. ex., sortit. C'est l'été.",
    # Characters.
    "emoji families": "Hi 👩\u200d👩\u200d👧\u200d👦! 🏳\ufe0f\u200d🌈 and 👩🏽\u200d🚀👨🏿\u200d⚕\ufe0f. ❤\ufe0f\u200d🔥? 🧑\u200d🤝\u200d🧑x",
    "flags": "🇩🇪🇫🇷🇯🇵 🇺 🇸🇺🇸🇺. 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f! 🇧🇷a🇧",
    "skin tones and keycaps": "👍🏻👍🏿 🏽alone 1\ufe0f\u20e32\u20e3#\ufe0f\u20e3 *\u20e3 ☎\ufe0e☎\ufe0f \u200d👩\u200d \u200d.",
    "combining marks": "e\u0301a\u0308o\u0302\u0323 \u0301start q\u0323\u0307 q\u0307\u0323 A\u030a\u212b \u0344 x\u20d7.",
    "zalgo": "z" + "\u0300\u0301\u0316\u0317" * 20 + "a" + "\u0335\u0489" * 12 + "lgo. Next.",
    "zero width": "a\u200bb\u200cc\u200dd\u2060e\ufefff\u00adg\u034fh. \u200b\u200b End\u200b",
    "prepended marks": "\u0600123 \u06dd٤ \U000110bdab \u0d4e\u0d15 x\u0600",
    "ligatures and widths": "ﬁﬂ ＡＢＣ １２．３ ｶﾞ ㎏ ① Ⅳ ½ … ™ ſt",
    "lone surrogates": "a\ud800b\udc00c \ud83d\ude00 \ude00\ud83d \ud83d",
    "nulls and controls": "a\x00b\x1b[31mred\x1b[0m\x07 \x1b]52;c;Zm9v\x07c\x7f\x85d\x9b1mx\x1c\x1d.\x0b\x0cend",
    "private and unassigned": "\ue000\U000f0000\U0010ffff\ufffe\ufdd0\u0378. \ufff9ruby\ufffb",
    # Line ends and white space.
    "mixed line ends": "one\r\ntwo\rthree\n\r\nfour\r\r\nfive\n\n\nsix\r",
    "unicode line ends": "a\u2028b\u2029c\x85d\x0be\x0cf\u2028\u2029\n.",
    "byte order marks": "\ufeff\ufeffHello\ufeff. \ufeffWorld",
    "white space only": " \t\u00a0\u3000\u2003 \t ",
    "line ends only": "\n\r\n\n\r\r\n\n",
    "blank lines with spaces": "a\n \t\nb\r\n \r\n\u00a0\r\n c \n\n\n\td\n",
    "wide spaces": "  lead\u3000mid \u00a0 \u2009 tail \t\u2003 ",
    "empty": "",
    "one character": "a",
    # Prose.
    "numbers": "Pi is 3.14159. It costs $1,234.56! v1.2.3 at 10:30 p.m. on 2024-01-02. 1e-5 .5 5. 50% 1/2 -7. No. 5.",
    "abbreviations": "Mr. J. R. R. Smith, Ph.D., of U.S. Steel Inc. came, e.g. at 5 p.m. The end, etc. Then vs. now.",
    "quotes": '"Really?" she asked. \'No.\' “Yes!” he said. (Truly.) [Sic.] *Oh.* `a.b()` He left." "',
    "addresses": "See https://example.com/a?b=c&d=1.2#e. Mail a.b+c@example.co.uk, or ftp://x.y! www.z.org? /usr/bin/a.sh.",
    "personal data": "Card 4111 1111 1111 1111, 4111-1111-1111-1112; key sk-abcDEF0123456789abcdef. +49 (30) 123-4567. 192.168.0.1 ::1",
    "ellipses": "Well... maybe. Wait..... What?! No!!! … And…so. . . . done .",
    "one long word": "x" * 700 + " y" + "z" * 90,
    "lower case": "hello there. this is all in lower case. is it? yes! ok",
    # Markdown.
    "markdown": "# Title\n\nA *b* **c** _d_ `e`.\n\n- one\n  - two\n    code\n1. x\n2) y\n\n> quote\n> more\n\n---\n\nEnd[^1].\n\n[^1]: note",
    "nested fences": "````md\n```py\nprint('hi. Ho')\n```\n~~~\n````\nAfter. Done.\n```\nx",
    "unclosed fence": "Look:\n\n```python\ndef f(x):\n    return x < 1 and '``'\n\nno end. Here",
    "unclosed tilde fence": "~~~\na ``` b\n\n~~\n~~~ x\n\nstill code",
    "fence in a list": "1. Step:\n   ```sh\n   rm -rf *\n\n   ls\n   ```\n2. Next.\n   * `` a`b ``\n",
    "broken emphasis": "*a **b* c** _d __e_ f__ ***g** ~~h ~i~~ `j ``k` [l](m [n] ![o](p\n**q",
    "links": "[a](http://b.c/d_(e) \"t\") ![i](j.png) <http://k.l> [m][n] [n]: /o 'p'\n[q](",
    "table": "| a | b |\n|---|:-:|\n| 1 | `x|y` |\n| 2 \\| 3 |\n\nText | not | table\n|x|",
    "html": "<div class='a b'>x<br/>y</div> <!-- c > d --> &amp; &lt; <p\nid=1>z <img src=\"a>b\">",
    "latex": "Let $x<y$ and $$\\sum_{i=1}^n i = \\frac{n(n+1)}{2}.$$ Or \\(a_1\\), \\[b\n= c!\\] costs $5 and $6. \\$7 \\\\(",
    # Tags and code.
    "tags": "<think>Hm. a < b && c > d</think>Answer <b>bold</b>. <tool name=\"x\" arg='1>2'>body</tool>",
    "nested tags": "<think>one <think>two</think> three</think> four <a><b></a></b> </think> <think",
    "unclosed tags": "x <think>never closed. <thin <thinking> </thin </ think> < think> <think",
    "comparisons": "if a < b and b <= c: x <- 1; y << 2; z <> w; <3 <<THINK>> <THINK>A</Think > <",
    "tag pieces": "<<think>>a<</think>></think><think/><think \n a=b>c</think\n>d<!DOCTYPE x><?php ?>",
    "python code": 'def f(a: int) -> str:\n\t"""Doc. Two."""\n\tif a < 3 and a > 1:\n\t\treturn f"{a!r}" # no. Yes\n\n\nclass X: ...\n',
    "c code": '#include <stdio.h>\nint main(void) { for (int i=0; i<10; ++i) printf("%d\\n", i); /* a. b */ return 0; } // end\n',
    "shell and sql": "$ cat <<'EOF' > x.txt && echo \"$?\"\nhi\nEOF\nSELECT * FROM \"t\" WHERE a <> 'b''c' -- no\n; \\d",
    "json": '{"a": [1, 2.5e3, -0], "b": {"c": "d\\"e\\u00e9\\ud83d\\ude00"}, "f": null} [true,false] "x" 12 {"open": [1,',
    "json in a fence": 'Here:\n```json\n{"a": "```", "b": [1,\n 2]}\n```\nand {not json} {"k":1}{"k":2}\n[]',
    "json lines": '{"n":1}\n{"n":2}\r\n\n{"n":',
    "escapes": 'a\\nb \\u00e9 \\x1b %20 &#x27; \\\\ \\" C:\\new\\table ^[[A',
    "stop words": "Human: hi\n\nAssistant: hello\n\nHum\n\nHuman: E EN END ENDEND <|im_end|> <|im_",
}
