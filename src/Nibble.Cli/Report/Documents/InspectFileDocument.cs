
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
    /// <summary>How an ONNX file is quantized; null if it is not, and for a GGUF file, whose types show it.</summary>
    public InspectedQuantization? Quantization { get; init; }

    public const string CurrentSchema = "nibble.inspect-file/1";
}

/// <summary>A tensor of an exported file.</summary>
internal sealed record InspectedTensor(string Name, string Type, IReadOnlyList<long> Shape, long? Bytes);

/// <summary>How a file is quantized in words, and how many of its weights are integers, with their bytes.</summary>
internal sealed record InspectedQuantization(string How, long Values, long Bytes);
