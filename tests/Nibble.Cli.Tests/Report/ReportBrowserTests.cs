using Nibble.Cli.Report;
using Nibble.Models;
using Nibble.Planning;
using Nibble.Recipes;

namespace Nibble.Cli.Tests.Report;

/// <summary>Reports as a browser shows them.</summary>
public sealed class ReportBrowserTests : IAsyncLifetime
{
    private const int Phone = 400;
    private const int Desk = 1280;

    /// <summary>Opens what is folded, and finds texts whose contrast with what is behind them is below 4.5 (WCAG 2.2, AA).</summary>
    /// <remarks>
    /// Colours become sRGB on a canvas, in whatever space the page computes them. Behind the text of a chart is the halo of the text if it has one. The
    /// shadows at the sides of what scrolls are decoration, and not counted.
    /// </remarks>
    private const string FaintTexts = """
        (() => {
          document.querySelectorAll('details').forEach(details => details.open = true);
          const canvas = document.createElementNS('http://www.w3.org/1999/xhtml', 'canvas').getContext('2d', { willReadFrequently: true });
          const rgba = color => {
            canvas.clearRect(0, 0, 1, 1);
            canvas.fillStyle = color;
            canvas.fillRect(0, 0, 1, 1);
            const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
            return [r, g, b, a / 255];
          };
          const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
          const luminance = color => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
            const share = color[i] / 255;
            return sum + weight * (share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4);
          }, 0);
          const behind = element => {
            const layers = [];
            for (let at = element; at; at = at.parentElement) {
              const rect = at.localName === 'svg' && [...at.children].find(child => child.localName === 'rect');
              if (rect) layers.push(rgba(getComputedStyle(rect).fill));
              layers.push(rgba(getComputedStyle(at).backgroundColor));
            }
            return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
          };
          const opacity = element => element ? getComputedStyle(element).opacity * opacity(element.parentElement) : 1;
          const texts = [...document.querySelectorAll('body *, svg text')].filter(element =>
            [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim()) && element.getClientRects().length);
          const faint = texts.flatMap(element => {
            const style = getComputedStyle(element);
            const inChart = element.ownerSVGElement;
            const halo = inChart && style.paintOrder.startsWith('stroke') ? rgba(style.stroke) : [0, 0, 0, 0];
            const below = over(halo, behind(element));
            const ink = rgba(inChart ? style.fill : style.color);
            const seen = over([...ink.slice(0, 3), ink[3] * opacity(element)], below);
            const [light, dark] = [luminance(seen), luminance(below)].sort((a, b) => b - a);
            const contrast = (light + 0.05) / (dark + 0.05);
            const name = `${element.localName}.${element.getAttribute('class')}: ${element.textContent.slice(0, 40)}`;
            return contrast < 4.5 ? [`${contrast.toFixed(2)} ${name}`] : [];
          });
          return texts.length ? faint : ['no text'];
        })()
        """;

    /// <summary>Finds what is wider than its box but cannot be scrolled by the keyboard.</summary>
    private const string Unreachable = """
        [...document.querySelectorAll('body *')]
          .filter(element => element.clientWidth && element.scrollWidth > element.clientWidth && getComputedStyle(element).overflowX !== 'visible')
          .filter(element => element.tabIndex !== 0 || element.getAttribute('role') !== 'region' || !element.getAttribute('aria-label'))
          .map(element => element.outerHTML.slice(0, 80))
        """;

    /// <summary>Finds breaches of the page's structure: language, title, headings, tables and charts.</summary>
    private const string Breaches = """
        (() => {
          const found = [];
          if (!document.documentElement.lang) found.push('no language');
          if (!document.title) found.push('no title');
          const levels = [...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(heading => +heading.localName[1]);
          if (levels[0] !== 1 || levels.filter(level => level === 1).length !== 1) found.push(`headings ${levels}`);
          levels.forEach((level, i) => { if (i && level > levels[i - 1] + 1) found.push(`heading ${level} after ${levels[i - 1]}`); });
          document.querySelectorAll('table').forEach(table => {
            const isHeading = (cell, scope) => cell.localName === 'th' && cell.scope === scope;
            if (![...table.tHead.rows].every(row => [...row.cells].every(cell => isHeading(cell, 'col')))) found.push('a column without a heading');
            const rows = [...table.tBodies].flatMap(body => [...body.rows]);
            if (!rows.every(row => isHeading(row.cells[0], 'row'))) found.push('a row without a heading');
          });
          document.querySelectorAll('svg').forEach(chart => {
            if (chart.getAttribute('role') !== 'img' || !chart.getAttribute('aria-label')) found.push('a chart without a description');
          });
          if (!document.querySelector('svg') && !document.querySelector('table')) found.push('nothing to see');
          return found;
        })()
        """;

    private static readonly string[] Schemes = ["light", "dark"];
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("nibble-browser-");
    private Chromium? browser;

    public async ValueTask InitializeAsync()
    {
        if (Chromium.Path is not null)
        {
            browser = await Chromium.Start();
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (browser is not null)
        {
            await browser.DisposeAsync();
        }

        folder.Delete(recursive: true);
    }

    [Fact]
    public async Task ReportsAreReadableOnPhonesAndDesksInBothColourSchemes()
    {
        var page = Browser();
        foreach (var (name, html) in Reports())
        {
            await page.Open(Write($"{name}.html", html));

            Assert.Equal([$"{name}.html"], page.Events.Where(item => Chromium.Method(item) == "Network.requestWillBeSent")
                .Select(item => Path.GetFileName((string)item["params"]!["request"]!["url"]!)));
            Assert.DoesNotContain(
                page.Events, item => Chromium.Method(item) is "Runtime.consoleAPICalled" or "Runtime.exceptionThrown" or "Log.entryAdded");
            Assert.Equal([], (await page.Evaluate<string[]>(Breaches)).Select(breach => $"{name}: {breach}"));
            foreach (var scheme in Schemes)
            {
                await page.Show(Desk, mobile: false, scheme);
                Assert.Equal([], (await page.Evaluate<string[]>(FaintTexts)).Select(text => $"{name}, {scheme}: {text}"));
            }

            foreach (var mobile in (bool[])[false, true])
            {
                await page.Show(Phone, mobile, "light");
                Assert.True(
                    await page.Evaluate<int>("document.documentElement.scrollWidth") <= Phone, $"{name} scrolls sideways (mobile: {mobile})");
                Assert.Equal([], (await page.Evaluate<string[]>(Unreachable)).Select(element => $"{name}: {element}"));
            }
        }
    }

    /// <summary>A document shows the chart on its own background, white or dark, in the scheme that its reader prefers.</summary>
    [Fact]
    public async Task AChartOfItsOwnIsReadableOnWhiteAndOnDark()
    {
        var page = Browser();
        var chart = ReportCharts.LossByBits(FakeComparison.Crowded())!.Element("svg")!;
        await page.Open(Write("chart.svg", HtmlPage.RenderSvg(chart)));

        Assert.DoesNotContain(page.Events, item => Chromium.Method(item) is "Runtime.exceptionThrown" or "Log.entryAdded");
        Assert.NotEmpty(await page.Evaluate<string>("document.documentElement.getAttribute('aria-label')"));
        foreach (var scheme in Schemes)
        {
            await page.Show(Desk, mobile: false, scheme);
            Assert.Equal([], (await page.Evaluate<string[]>(FaintTexts)).Select(text => $"{scheme}: {text}"));
            Assert.Equal(1, await page.Evaluate<double>("+getComputedStyle(document.querySelector('svg > rect')).opacity"));
        }
    }

    private Chromium Browser()
    {
        Assert.SkipWhen(browser is null, "needs Chromium, which this machine does not have");
        return browser!;
    }

    private string Write(string name, string text)
    {
        var path = Path.Combine(folder.FullName, name);
        File.WriteAllText(path, text);
        return path;
    }

    private static IEnumerable<(string Name, string Html)> Reports()
    {
        var typical = FakeComparison.Typical();
        yield return ("compare", HtmlReport.Render(typical));
        yield return ("crowded", HtmlReport.Render(FakeComparison.Crowded()));
        yield return ("hybrid", HtmlReport.Render(typical with
        {
            Task = ModelTask.Classification,
            Runs = [.. typical.Runs, FakeComparison.Run(Method.Hybrid, 4, 0.0021, "hybrid-attention-qat-with-a-long-name-that-does-not-wrap")],
        }));
        yield return ("advise", AdviceReport.Render(FakeAdvice.Document()));
        yield return ("nothing", AdviceReport.Render(FakeAdvice.Document(new Constraints { MemoryBytes = 1 })));
        yield return ("sensitivity", SensitivityReport.Render(FakeAdvice.Sensitivity()));
    }
}
