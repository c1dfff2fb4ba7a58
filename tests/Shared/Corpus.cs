namespace Nibble.Tests.Shared;

/// <summary>Small files that readers are tried on, as they are and mutated: <c>tests/Corpus</c>, described there.</summary>
internal static class Corpus
{
    /// <summary>Names of a format's files that are to be read, and of those that are to be refused.</summary>
    /// <param name="format">The folder, such as <c>gguf</c>.</param>
    public static (TheoryData<string> Valid, TheoryData<string> Broken) Names(string format)
    {
        var names = Directory.GetFiles(Folder(format)).Select(path => Path.GetFileName(path)!).Order(StringComparer.Ordinal)
            .ToLookup(name => name.StartsWith("valid-", StringComparison.Ordinal));
        return ([.. names[true]], [.. names[false]]);
    }

    /// <summary>Where a file is.</summary>
    public static string PathOf(string format, string name) => Path.Combine(Folder(format), name);

    /// <summary>All files of a format.</summary>
    public static byte[][] Read(string format) => [.. Directory.GetFiles(Folder(format)).Order(StringComparer.Ordinal).Select(File.ReadAllBytes)];

    private static string Folder(string format) => Path.Combine(AppContext.BaseDirectory, "Corpus", format);
}
