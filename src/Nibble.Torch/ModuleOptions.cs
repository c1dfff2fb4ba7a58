using Nibble.Torch.Training;
using Microsoft.Extensions.Logging;
using Nibble.Torch.Qat;
using static TorchSharp.torch;

namespace Nibble;

/// <summary>Options of <c>Quantize.Ptq</c> and <c>Quantize.Qat</c> for a TorchSharp module.</summary>
public sealed record ModuleOptions
{
    /// <summary>
    /// Inputs of the module to calibrate static activations with. They are read once, and only if the recipe has static activations. Each is disposed after
    /// use. Default: null, no data. PTQ then refuses static activations, and QAT starts from the range of the first input that each layer receives.
    /// </summary>
    public IEnumerable<Tensor>? Batches { get; init; }

    /// <summary>The seed with which the batches were drawn. It is recorded in the result. Default: 1.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>
    /// What you know about the module, for example which batch normalization belongs to which convolution. Default: only what the modules' positions and
    /// names imply.
    /// </summary>
    public PrepareOptions Prepare { get; init; } = new();

    /// <summary>QAT: where to save training checkpoints. Training resumes from a checkpoint that is already there. Default: null, no checkpoints.</summary>
    public CheckpointOptions? Checkpoints { get; init; }

    /// <summary>Receives warnings that do not stop the run. They are in the result's summary too. Default: null, no logging.</summary>
    public ILogger? Logger { get; init; }
}
