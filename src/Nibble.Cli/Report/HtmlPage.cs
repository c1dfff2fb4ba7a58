using Nibble.Files;
using System.Text;
using System.Xml.Linq;
using static Nibble.Cli.Report.Html;

namespace Nibble.Cli.Report;

/// <summary>A report as one HTML file without external resources or scripts. It also prints well.</summary>
internal static class HtmlPage
{
    /// <summary>The number of first bytes that contain the generator of a page.</summary>
    private const int HeadLength = 2048;

    /// <summary>The marker of a page that Nibble wrote.</summary>
    private const string Generator = "<meta name=\"generator\" content=\"Nibble\"";

    private static readonly Lazy<string> ChartStyle = new(() => Resource("chart.css"));
    private static readonly Lazy<string> PageStyle = new(() => Resource("report.css"));

    /// <summary>The HTML of a page.</summary>
    public static string Render(string title, IEnumerable<XElement> body) => Html.Write(E(
        "html", A("lang", "en"),
        E(
            "head",
            E("meta", A("charset", "utf-8")),
            E("meta", A("name", "viewport"), A("content", "width=device-width, initial-scale=1")),
            // Whatever a model's name or sample contains, the page requests nothing from other machines.
            E("meta", A("http-equiv", "Content-Security-Policy"), A("content", "default-src 'none'; style-src 'unsafe-inline'")),
            E("meta", A("name", "color-scheme"), A("content", "light dark")),
            E("meta", A("name", "generator"), A("content", "Nibble")),
            E("title", title),
            E("style", ChartStyle.Value + PageStyle.Value)),
        E("body", body)));

    /// <summary>A chart as a file of its own, in the colours of the page, light or dark as the reader prefers.</summary>
    /// <param name="chart">A chart of <see cref="SvgChart"/>.</param>
    public static string RenderSvg(XElement chart)
    {
        ArgumentNullException.ThrowIfNull(chart);
        XNamespace svg = "http://www.w3.org/2000/svg";
        var root = InSvg(chart);
        root.AddFirst(
            new XElement(svg + "style", ChartStyle.Value),
            new XElement(svg + "rect", A("width", "100%"), A("height", "100%"), A("fill", "var(--paper)")));
        return root + "\n";

        XElement InSvg(XElement element) =>
            new(svg + element.Name.LocalName, element.Attributes(), element.Nodes().Select(node => node is XElement child ? InSvg(child) : node));
    }

    /// <summary>Refuses a path with a file that Nibble did not write.</summary>
    /// <exception cref="NibbleException">There is such a file.</exception>
    public static void RequireReplaceable(string path)
    {
        if (AtomicFile.Exists(path) && !IsOwn(path))
        {
            throw new NibbleException(
                $"{path} exists already and is not a report that Nibble wrote, so it is not replaced; move it, or write the report elsewhere");
        }
    }

    /// <summary>Writes a page to a file. An older report is replaced atomically.</summary>
    /// <exception cref="NibbleException">The file cannot be written, or is not a report of Nibble.</exception>
    public static void Write(string path, string page)
    {
        try
        {
            RequireReplaceable(path);
            AtomicFile.Write(path, stream => stream.Write(Encoding.UTF8.GetBytes(page)));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new NibbleException($"Cannot write the report to {path}: {error.Message} Name a file in an existing folder that you can write to.", error);
        }
    }

    private static bool IsOwn(string path)
    {
        // A file without a length may be a pipe, which would not end.
        if (new FileInfo(path) is not { Exists: true, Length: > 0 })
        {
            return false;
        }

        using var stream = File.OpenRead(path);
        var head = new byte[HeadLength];
        return Encoding.UTF8.GetString(head, 0, stream.ReadAtLeast(head, head.Length, throwOnEndOfStream: false)).Contains(Generator, StringComparison.Ordinal);
    }

    private static string Resource(string name)
    {
        using var stream = typeof(HtmlPage).Assembly.GetManifestResourceStream(name)!;
        using var reader = new StreamReader(stream, Encoding.UTF8);
        return reader.ReadToEnd();
    }
}
