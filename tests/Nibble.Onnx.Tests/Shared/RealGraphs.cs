using Nibble.Tests.Shared;

namespace Nibble.Onnx.Tests.Shared;

/// <summary>Real ONNX files of several origins and operator sets.</summary>
internal static class RealGraphs
{
    // The sizes that a file leaves to the caller.
    private static readonly Dictionary<string, int[]> Sizes = new(StringComparer.Ordinal)
    {
        ["onnx/opt-mnist.onnx"] = [],
        ["onnx/yunet_n_320_320.onnx"] = [],
        ["onnx/version-RFB-320.onnx"] = [],
        ["onnx/ch_ppocr_mobile_v2.0_cls_infer.onnx"] = [1, 48, 192],
        ["onnx/silero_vad_16k_op15.onnx"] = [1, 512, 1],
        ["onnx/pgd_2_3_16.onnx"] = [],
        ["resnet20-cifar10/resnet20.onnx"] = [2],
    };

    /// <summary>The files, below the folder of shared data.</summary>
    public static TheoryData<string> Names => [.. Sizes.Keys];

    /// <summary>Runs a file, or one that was made from it.</summary>
    public static GraphRun Run(string name, string path) => GraphRun.Of(path, seed: 3, Sizes[name]);

    /// <summary>Where a file is. Skips the test if it is absent.</summary>
    public static string Require(string name) => SharedData.Require(name);
}
