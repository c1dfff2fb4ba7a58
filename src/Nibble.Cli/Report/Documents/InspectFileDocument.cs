
namespace Nibble.Cli.Report.Documents;

/// <summary>The document of <c>inspect --json</c> for an exported file.</summary>
internal sealed record InspectFileDocument(
    string Schema,
    string File,
    string Format,
    long Bytes,
    long Values,
    IReadOnlyDictionary<string, string> Metadata,
    Dictionary<string, int> Types,
    Dictionary<string, int> Operators,
    IReadOnlyList<string> Inputs,
    IReadOnlyList<string> Outputs,
    IReadOnlyList<InspectedTensor> Tensors)
{
    public const string CurrentSchema = "nibble.inspect-file/1";
}

/// <summary>A tensor of an exported file.</summary>
internal sealed record InspectedTensor(string Name, string Type, IReadOnlyList<long> Shape, long? Bytes);
