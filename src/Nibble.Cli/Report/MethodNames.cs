using Nibble.Recipes;

namespace Nibble.Cli.Report;

/// <summary>How methods are written.</summary>
internal static class MethodNames
{
    /// <summary>A method as a word of tables, file names and JSON: <c>ptq</c>, <c>qat</c> or <c>hybrid</c>.</summary>
    public static string Word(this Method method) => method.ToString().ToLowerInvariant();

    /// <summary>A method's name in sentences: <c>PTQ</c>, <c>QAT</c>, <c>hybrid</c>, or <c>float</c> for none.</summary>
    public static string Title(Method? method) =>
        method switch { null => "float", Method.Hybrid => "hybrid", { } pure => pure.ToString().ToUpperInvariant() };
}
