using System.Text;
using System.Text.RegularExpressions;
using System.Xml.Linq;

namespace Nibble.Cli.Report;

/// <summary>Builds and writes HTML elements. <see cref="Write"/> escapes all text, so that nothing becomes markup.</summary>
internal static partial class Html
{
    private static readonly HashSet<string> Void = ["br", "col", "hr", "img", "link", "meta", "wbr"];

    /// <summary>Elements that start on a new line in the file, because white space around them has no effect.</summary>
    private static readonly HashSet<string> Blocks =
    [
        "html", "head", "meta", "title", "style", "body", "header", "main", "section", "footer", "h1", "h2", "h3", "p", "ul", "li", "dl", "dt", "dd",
        "table", "caption", "thead", "tbody", "tr", "figure", "figcaption", "details", "summary", "div", "svg", "g", "path", "circle", "line", "text",
    ];

    /// <summary>An element with attributes, children and text.</summary>
    public static XElement E(string name, params object?[] content) => new(name, content);

    /// <summary>An attribute.</summary>
    public static XAttribute A(string name, object value) => new(name, value);

    /// <summary>The attribute <c>class</c>.</summary>
    public static XAttribute Class(string value) => new("class", value);

    /// <summary>An element that scrolls sideways if it is too wide, also by the keyboard.</summary>
    /// <param name="name">The element's name, <c>div</c> or <c>pre</c>.</param>
    /// <param name="label">The name that screen readers announce.</param>
    /// <param name="content">The content.</param>
    public static XElement Scrolling(string name, string label, XElement content) =>
        E(name, Class("scroll"), A("tabindex", "0"), A("role", "region"), A("aria-label", label), content);

    /// <summary>A dotted name that may be broken after each dot if a line is too short for it.</summary>
    public static IEnumerable<object> Breakable(string name) => name.Split('.').SelectMany((part, i) => i == 0 ? (object[])[part] : [".", E("wbr"), part]);

    /// <summary>Replaces hyphens before numbers by minus signs, and prevents line breaks before units.</summary>
    public static string Typeset(string text) => Unit().Replace(Minus().Replace(text, "−"), "\u00A0");

    /// <summary>An HTML 5 document that is also well-formed XML.</summary>
    public static string Write(XElement root)
    {
        var text = new StringBuilder("<!DOCTYPE html>");
        Append(text, root);
        return text.Append('\n').ToString();
    }

    [GeneratedRegex(@"(?<![\w-])-(?=\d)")]
    private static partial Regex Minus();

    [GeneratedRegex(@"(?<=\d) (?=(B|kB|MB|GB|TB|s|min|h|bits|steps|nats)\b)")]
    private static partial Regex Unit();

    private static void Append(StringBuilder text, XElement element)
    {
        var name = element.Name.LocalName;
        if (Blocks.Contains(name))
        {
            text.Append('\n');
        }

        text.Append('<').Append(name);
        foreach (var attribute in element.Attributes())
        {
            text.Append(' ').Append(attribute.Name.LocalName).Append("=\"");
            AppendEscaped(text, attribute.Value);
            text.Append('"');
        }

        if (Void.Contains(name))
        {
            text.Append("/>");
            return;
        }

        text.Append('>');
        foreach (var node in element.Nodes())
        {
            switch (node)
            {
                case XElement child:
                    Append(text, child);
                    break;
                case XText when name == "style":
                    text.Append(((XText)node).Value);
                    break;
                case XText content:
                    AppendEscaped(text, content.Value);
                    break;
            }
        }

        text.Append("</").Append(name).Append('>');
    }

    private static void AppendEscaped(StringBuilder text, string value)
    {
        // Runes, so that an unpaired surrogate becomes U+FFFD.
        foreach (var rune in value.EnumerateRunes())
        {
            switch (rune.Value)
            {
                case '&':
                    text.Append("&amp;");
                    break;
                case '<':
                    text.Append("&lt;");
                    break;
                case '>':
                    text.Append("&gt;");
                    break;
                case '"':
                    text.Append("&quot;");
                    break;
                case '\r':
                    break;
                case (< ' ' and not '\t' and not '\n') or (>= 0x7F and < 0xA0) or 0xFFFE or 0xFFFF:
                    text.Append('\uFFFD');
                    break;
                default:
                    text.Append(rune.ToString());
                    break;
            }
        }
    }
}
