using System.Globalization;
using System.Text;
using System.Xml.Linq;
using static Nibble.Cli.Report.Html;

namespace Nibble.Cli.Report;

/// <summary>A point of a chart, in the units of its axes.</summary>
internal readonly record struct ChartPoint(double X, double Y);

/// <summary>A chart of lines and dots with direct labels, as SVG. Colours and fonts come from the page's style sheet.</summary>
/// <param name="x">The horizontal axis.</param>
/// <param name="y">The vertical axis.</param>
/// <param name="xTitle">The title of the horizontal axis, with its unit.</param>
/// <param name="yTitle">The title of the vertical axis, with its unit.</param>
/// <param name="right">Space for labels to the right of the axes, in units of the picture.</param>
internal sealed class SvgChart(ChartScale x, ChartScale y, string xTitle, string yTitle, double right)
{
    private const double Width = 440;
    private const double Height = 330;
    private const double Top = 28;
    private const double Bottom = 46;
    private const double FontSize = 13;
    private const double LineHeight = 15;
    private const double Radius = 4.5;
    private const int LongestLabel = 22;

    /// <summary>The number of additional series per style that the style sheet distinguishes.</summary>
    private const int MostSeries = 4;

    private readonly double left = 14 + y.Ticks.Select(tick => TextWidth(ChartScale.Label(tick))).DefaultIfEmpty(0).Max();
    private readonly List<XElement> marks = [];
    private readonly List<Box> occupied = [];
    private readonly List<(string Style, string Text, IReadOnlyList<(double X, double Y)> Anchors)> labels = [];

    /// <summary>A line through points.</summary>
    public void Line(string style, IReadOnlyList<ChartPoint> points)
    {
        var places = points.Select(Place).ToList();
        var path = new StringBuilder();
        for (var i = 0; i < places.Count; i++)
        {
            path.Append(i == 0 ? 'M' : 'L').Append(N(places[i].X)).Append(' ').Append(N(places[i].Y));
            if (i > 0)
            {
                Occupy(places[i - 1], places[i]);
            }
        }

        marks.Add(E("path", Class("line " + style), A("d", path.ToString())));
    }

    /// <summary>A faint line between two points, which labels may cover.</summary>
    public void Link(ChartPoint from, ChartPoint to)
    {
        var ((x1, y1), (x2, y2)) = (Place(from), Place(to));
        marks.Add(Segment("link", x1, y1, x2, y2));
    }

    /// <summary>A line across the whole chart.</summary>
    public void Rule(string style, double value)
    {
        var height = PlaceY(value);
        Occupy((left, height), (Width - right, height));
        marks.Add(Segment("line " + style, left, height, Width - right, height));
    }

    /// <summary>A dot.</summary>
    public void Dot(string style, ChartPoint point)
    {
        var (px, py) = Place(point);
        occupied.Add(new Box(px - Radius, py - Radius, px + Radius, py + Radius, 50));
        marks.Add(E("circle", Class("dot " + style), A("cx", N(px)), A("cy", N(py)), A("r", N(Radius))));
    }

    /// <summary>A label next to the first point that has space for it.</summary>
    public void Label(string style, string text, params IReadOnlyList<ChartPoint> anchors) =>
        labels.Add((style, text, [.. anchors.Select(Place)]));

    /// <summary>Labels to the right of the axes for lines that end there, moved apart if they would overlap and connected to the ends.</summary>
    public void EndLabels(IEnumerable<(string Style, string Text, double Value)> ends)
    {
        var placed = ends.Select(end => (end.Style, end.Text, From: PlaceY(end.Value), To: PlaceY(end.Value))).OrderBy(end => end.From).ToList();
        for (var i = 1; i < placed.Count; i++)
        {
            placed[i] = placed[i] with { To = Math.Max(placed[i].To, placed[i - 1].To + LineHeight) };
        }

        var lowest = Height - Bottom;
        for (var i = placed.Count - 1; i >= 0; i--)
        {
            placed[i] = placed[i] with { To = Math.Min(placed[i].To, lowest) };
            lowest = placed[i].To - LineHeight;
        }

        foreach (var (style, text, from, to) in placed)
        {
            marks.Add(Segment("leader", Width - right + 2, from, Width - right + 10, to));
            marks.Add(LabelAt(style, text, Width - right + 13, to));
        }
    }

    /// <summary>The chart.</summary>
    /// <param name="description">The description for readers who cannot see the chart.</param>
    public XElement Render(string description)
    {
        var axes = E("g", Class("axes"));
        foreach (var tick in y.Ticks)
        {
            var height = PlaceY(tick);
            axes.Add(Segment("grid", left, height, Width - right, height));
            axes.Add(Text("tick", "end", left - 7, height + (FontSize * 0.35), ChartScale.Label(tick)));
        }

        foreach (var tick in x.Ticks)
        {
            var across = PlaceX(tick);
            axes.Add(Segment("axis", across, Height - Bottom, across, Height - Bottom + 5));
            axes.Add(Text("tick", "middle", across, Height - Bottom + 19, ChartScale.Label(tick)));
        }

        axes.Add(Segment("axis", left, Height - Bottom, Width - right, Height - Bottom));
        axes.Add(Text("title", "start", 2, 13, yTitle));
        axes.Add(Text("title", "end", Width - right, Height - 7, xTitle));
        return E(
            "svg", Class("chart"), A("viewBox", $"0 0 {N(Width)} {N(Height)}"), A("role", "img"), A("aria-label", description),
            axes, E("g", marks), E("g", PlaceLabels()));
    }

    /// <summary>CSS classes that distinguish series of one method by hue and dashes: each additional series of a style gets a number.</summary>
    /// <param name="styles">The style of each series, in order.</param>
    public static IReadOnlyList<string> ToldApart(IEnumerable<string> styles)
    {
        var counts = new Dictionary<string, int>();
        return [.. styles.Select(style =>
        {
            var number = counts[style] = counts.GetValueOrDefault(style) + 1;
            return number == 1 ? style : $"{style} nth-{2 + ((number - 2) % MostSeries)}";
        })];
    }

    /// <summary>The space to the right of the axes that these labels need.</summary>
    public static double RoomFor(IEnumerable<string> labels) => 18 + labels.Select(label => TextWidth(Shortened(label))).DefaultIfEmpty(0).Max();

    /// <summary>A number in an SVG attribute.</summary>
    public static string N(double value) => value.ToString("0.##", CultureInfo.InvariantCulture);

    private static string Shortened(string label) => label.Length <= LongestLabel ? label : label[..(LongestLabel - 1)] + "…";

    private static double TextWidth(string text) => text.Length * FontSize * 0.66;

    private static XElement Segment(string style, double x1, double y1, double x2, double y2) =>
        E("line", Class(style), A("x1", N(x1)), A("y1", N(y1)), A("x2", N(x2)), A("y2", N(y2)));

    private static XElement Text(string style, string anchor, double atX, double atY, string text) =>
        E("text", Class(style), A("x", N(atX)), A("y", N(atY)), A("text-anchor", anchor), Typeset(text));

    private static XElement LabelAt(string style, string text, double atX, double middle, string anchor = "start") =>
        Text("label " + style, anchor, atX, middle + (FontSize * 0.35), Shortened(text));

    private double PlaceX(double value) => left + (x.Position(value) * (Width - right - left));

    private double PlaceY(double value) => Height - Bottom - (y.Position(value) * (Height - Bottom - Top));

    private (double X, double Y) Place(ChartPoint point) => (PlaceX(point.X), PlaceY(point.Y));

    private void Occupy((double X, double Y) from, (double X, double Y) to)
    {
        var steps = 1 + (int)(Math.Max(Math.Abs(to.X - from.X), Math.Abs(to.Y - from.Y)) / 4);
        for (var i = 0; i <= steps; i++)
        {
            var (px, py) = (from.X + ((to.X - from.X) * i / steps), from.Y + ((to.Y - from.Y) * i / steps));
            occupied.Add(new Box(px - 1, py - 1, px + 1, py + 1, 1));
        }
    }

    /// <summary>Puts each label at the candidate place with the least overlap.</summary>
    private IEnumerable<XElement> PlaceLabels()
    {
        var frame = new Box(left + 1, Top - (LineHeight / 2), Width - right, Height - Bottom, 0);
        foreach (var (style, text, anchors) in labels)
        {
            var width = TextWidth(Shortened(text));
            var best = anchors
                .SelectMany(anchor => Around(anchor.X, anchor.Y, width))
                .MinBy(place => occupied.Where(place.Box.Overlaps).Sum(other => other.Weight) + (frame.Contains(place.Box) ? 0 : 1000));
            var middle = (best.Box.Top + best.Box.Bottom) / 2;
            occupied.Add(best.Box);
            if (best.Anchor != "middle" && Math.Abs(middle - best.FromY) >= LineHeight)
            {
                yield return Segment("leader", best.FromX, best.FromY, best.X, middle);
            }

            yield return LabelAt(style, text, best.X, middle, best.Anchor);
        }
    }

    /// <summary>Candidate places for a label around a point, best first. If the estimated width is wrong, the label grows away from the point.</summary>
    private static IEnumerable<(Box Box, string Anchor, double X, double FromX, double FromY)> Around(double px, double py, double width)
    {
        const double gap = Radius + 3;
        (string Anchor, double Dx, double Dy)[] offsets =
        [
            ("start", gap, 0), ("end", -gap, 0),
            ("middle", 0, -gap - (LineHeight / 2)), ("middle", 0, gap + (LineHeight / 2)),
            ("start", gap, -LineHeight / 2), ("end", -gap, -LineHeight / 2),
            ("start", gap, LineHeight / 2), ("end", -gap, LineHeight / 2),
            ("start", gap, -LineHeight), ("end", -gap, -LineHeight),
            ("start", gap, LineHeight), ("end", -gap, LineHeight),
            ("start", 2 * gap, -1.8 * LineHeight), ("end", -2 * gap, -1.8 * LineHeight),
            ("start", 2 * gap, 1.8 * LineHeight), ("end", -2 * gap, 1.8 * LineHeight),
        ];
        foreach (var (anchor, dx, dy) in offsets)
        {
            var x = px + dx;
            var start = anchor switch { "start" => x, "end" => x - width, _ => x - (width / 2) };
            yield return (new Box(start, py + dy - (LineHeight / 2), start + width, py + dy + (LineHeight / 2), 100), anchor, x, px, py);
        }
    }

    /// <summary>The area of a part of the picture, and the penalty for covering it.</summary>
    private readonly record struct Box(double Left, double Top, double Right, double Bottom, double Weight)
    {
        public bool Overlaps(Box other) => Left < other.Right && other.Left < Right && Top < other.Bottom && other.Top < Bottom;

        public bool Contains(Box other) => Left <= other.Left && other.Right <= Right && Top <= other.Top && other.Bottom <= Bottom;
    }
}
