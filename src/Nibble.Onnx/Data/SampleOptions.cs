using Microsoft.ML.OnnxRuntime;

namespace Nibble.Onnx.Data;

/// <summary>How files become samples.</summary>
internal sealed record SampleOptions
{
    /// <summary>How images become tensors. Null if there are no images, or if the input takes bytes.</summary>
    public ImagePreprocessing? Images { get; init; }

    /// <summary>The folder with the tokenizer of texts: usually that of the model. Null if there are no texts.</summary>
    public string? TokenizerFolder { get; init; }

    /// <summary>The most tokens per text, special tokens included. Longer texts are cut. A fixed size of the model takes its place.</summary>
    public int MaxTokens { get; init; } = 256;

    /// <summary>The number of columns of a .tsv file that are texts, beginning with the first: 1, or 2 for pairs.</summary>
    public int TextColumns { get; init; } = 1;

    /// <summary>The number of values per second that recordings must have. Null for any, as long as all have the same.</summary>
    public int? SampleRate { get; init; }

    /// <summary>Inputs that are the same in all samples.</summary>
    public IReadOnlyList<NamedOnnxValue> Constants { get; init; } = [];

    /// <summary>Inputs that an output of the run before gives. Samples do not contain them.</summary>
    public IReadOnlyList<(string Input, string Output)> States { get; init; } = [];
}
