using Nibble.Torch.Training;
using Microsoft.Extensions.Logging;
using Nibble.Torch.Qat;
using static TorchSharp.torch;

namespace Nibble;

/// <summary>How <c>Quantize.Ptq</c> and <c>Quantize.Qat</c> work on a TorchSharp module.</summary>
public sealed record ModuleOptions
{
    /// <summary>
    /// Inputs of the module to calibrate static activations with; read once, and only where the recipe has such. Each is disposed. Null, the default, for
    /// none: PTQ then
    /// refuses static activations, and QAT begins with the range of the first input that a layer sees.
    /// </summary>
    public IEnumerable<Tensor>? Batches { get; init; }

    /// <summary>The seed by which batches are drawn, noted in the result; 1 when not given.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>
    /// What is known beforehand, such as which batch normalization belongs to which convolution; nothing but what their places and names say when not given.
    /// </summary>
    public PrepareOptions Prepare { get; init; } = new();

    /// <summary>QAT: where the training saves itself, and goes on from what it has saved; null, the default, keeps nothing.</summary>
    public CheckpointOptions? Checkpoints { get; init; }

    /// <summary>Told what the user should know although the work goes on; null, the default, for nobody. The result's summary says it too.</summary>
    public ILogger? Logger { get; init; }
}
