using System.Text;
using Nibble.Formats.HuggingFace.Tokenizers;

namespace Nibble.Tests.Formats.HuggingFace.Tokenizers;

/// <summary>Texts that show how a tokenizer splits, normalizes and merges.</summary>
internal static class TokenizerTexts
{
    /// <summary>A sentence in each of many scripts.</summary>
    private static readonly string[] Scripts =
    [
        "The quick brown fox isn't lazy; it jumps over 13 dogs.", "Ça coûte 5 €, n'est-ce pas? Où êtes-vous, Zoë?", "Füße, Größe und Übermut kosten 1.234,56.",
        "Zażółć gęślą jaźń, proszę.", "Příliš žluťoučký kůň úpěl ďábelské ódy.", "İstanbul'da ışık ve ığdır var.", "Tiếng Việt có nhiều dấu thanh điệu.",
        "Съешь ещё этих мягких французских булок.", "Ґанок їжака, щойно з'явився.", "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.", "Բարև Ձեզ, ինչպե՞ս եք։",
        "გამარჯობა, როგორ ხარ?", "שָׁלוֹם עֲלֵיכֶם, מה שלומך?", "مَرْحَبًا بِالعَالَم، كيف حالك؟", "سلام دنیا، می‌خواهم ۱۲۳ بنویسم.", "یہ اردو ہے۔",
        "ܫܠܡܐ ܥܠܡܐ", "ހެޔޮ ދުވަހެއް", "नमस्ते दुनिया, क्षत्रिय ज्ञान १२३।", "বাংলা ভাষায় কথা বলি ৪৫৬।", "ਸਤਿ ਸ੍ਰੀ ਅਕਾਲ", "ગુજરાતી ભાષા",
        "ଓଡ଼ିଆ ଭାଷା", "தமிழ் மொழி கொண்டு", "తెలుగు భాష", "ಕನ್ನಡ ಭಾಷೆ ಕೊಡು", "മലയാളം ഭാഷ", "සිංහල භාෂාව", "ภาษาไทยไม่มีช่องว่าง ๑๒๓", "ພາສາລາວ",
        "བོད་སྐད་ཡིག", "မြန်မာစာ", "ភាសាខ្មែរ", "አማርኛ ቋንቋ", "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ", "ᐃᓄᒃᑎᑐᑦ", "ᠮᠣᠩᠭᠣᠯ", "汉字和漢字，測試一下！", "日本語のテスト。カタカナ、ｶﾀｶﾅ、がぎぐ。",
        "한국어 문장입니다. 각 값", "ꦗꦮ", "𐌲𐌿𐍄𐌹𐍃𐌺", "𓀀𓂀𓃰", "𝐁𝐨𝐥𝐝 𝟏𝟐𝟑 𝒮𝒸𝓇", "𠮷野家 𪚥",
    ];

    private static readonly string[] Others =
    [
        string.Empty, " ", "  ", "a", " a", "a ", "\t", "\n", "\r\n", "\r\n\r\n", " \n \n", "\t\ta\t b", "a\u00a0b\u2003c\u3000d\u0085e\u2028f",
        "\u200b\ufeff\u200dx",
        "it's we'LL I'D they'RE o'clock don''t", "it'ſ İI'ı K Å", "1 12 123 1234 12345678901234567890 3.14 1e-5 ½ ² Ⅷ ٣ ४५ 一二",
        "!!! ... ?!?! ((([[{{ }}]] -- —— ___ ### $$$ %%%", "foo_bar fooBar FooBAR foo-bar foo.bar FOO foo1bar2", "XMLHttpRequest ÉCOLE école ǅ ﬁ ﬃ ﷺ ㎏ ①",
        "for (int i = 0; i < 10; i++) {\n    if (x[i] != y) { return \"a\\n\"; }\n\t// note\n}\n", "def f(x):\n    return x**2  # square\n\n\nprint(f(3))",
        "<html><body class=\"x\">&nbsp;&amp;<br/></body></html>", "https://example.org/a?b=c&d=%20#e user@example.com C:\\path\\to",
        "{\"key\": [1, 2, null], \"a\": \"b\"}",
        "| a | b |\n|---|---|\n| 1 | 2 |", "$\\frac{1}{2} \\sum_{i=0}^n x_i^2$", "SELECT * FROM t WHERE a='b';--", "🙂", "👨‍👩‍👧‍👦👍🏽🇩🇪 ❤️ 🏳️‍🌈",
        "e\u0301\u0323 e\u0323\u0301 \u0301a a\u0301\u0301\u0301",
        "\u1100\u1161\u11a8 \u1100\u1161 가\u11a8", "\u0344 \u0958 \u2126 \u212b \uf900 \ufb1d \u1e9b\u0323", "\ud800", "a\udc00b", "\ud83d x \ude00",
        "\u0001\u0002\u007f\u009f\ufffd",
        "\ue000\ufdd0\uffff\U0010ffff", "<s>", "</s>", "<s>a</s> b", "<unk> <pad>", "a <|endoftext|> b", "<|im_start|>user\nhi<|im_end|>\n",
        "<|begin_of_text|>x<|eot_id|>",
        "<bos>x<eos> <start_of_turn>y", "<｜begin▁of▁sentence｜>x<｜User｜>", "[INST] hi [/INST][CLS]", "▁a ▁▁b a▁b", "<0x0A> <0xFF>",
        "<|start|>assistant<|channel|>", "#version: 0.2",
        "Ġa Ċ â", "aaaaaaaaaaaaaaaaa 9aaa aaa9", "abcabcabcabcabc", "the the  the   the", "ααα ααα", "x\u0300\u0301\u0302\u0303\u0304\u0305y", "１２３ ＡＢＣ ａｂｃ",
        "٠١٢٣٤٥٦٧٨٩",
    ];

    /// <summary>All texts.</summary>
    public static IReadOnlyList<string> All { get; } = [.. Build().Distinct()];

    private static IEnumerable<string> Build()
    {
        foreach (var text in Scripts)
        {
            yield return text;
            yield return UnicodeNormalization.Decompose(text);
            yield return UnicodeNormalization.Compose(text);
            yield return "  " + text.Replace(" ", "   ", StringComparison.Ordinal) + " ";
            yield return text.ToUpperInvariant() + "\r\n" + text;
        }

        foreach (var text in Others)
        {
            yield return text;
            yield return "x" + text + text;
        }

        foreach (var count in (int[])[3, 4, 5, 7, 8, 15, 16, 31, 64, 100, 255, 1000])
        {
            yield return new string(' ', count);
            yield return "a" + new string(' ', count) + "b";
            yield return new string('\t', count) + "b";
            yield return "a" + new string('\n', count) + "b";
        }

        yield return string.Concat(Enumerable.Repeat(" \t", 200));
        foreach (var unit in (string[])["a", "ab", "abcdefghij", "é", "漢", "汉字測試", "한", "ก", "न्", "🙂", "𠮷", "=", "1"])
        {
            yield return Repeat(unit, 10_000);
        }
    }

    private static string Repeat(string unit, int length) => new StringBuilder().Insert(0, unit, length / unit.Length).ToString();
}
