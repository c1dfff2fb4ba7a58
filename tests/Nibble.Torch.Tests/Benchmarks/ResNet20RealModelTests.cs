using Nibble.Torch.Modules;
using Nibble.Formats.CompressedTensors;
using Nibble.Recipes;
using Nibble.Tests.Shared;
using Nibble.Torch.Benchmarks;
using Nibble.Torch.Qat;
using Nibble.Torch.Tests.Shared;

namespace Nibble.Torch.Tests.Benchmarks;

public sealed class ResNet20RealModelTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void FloatClassifiesAsWellAsItsPublishers()
    {
        using var network = ResNet20.Open(SharedData.Require("resnet20-cifar10/resnet20-12fca82f.safetensors"));
        Assert.Equal(0.94, Lossless().Accuracy(network), 6);
    }

    [Fact]
    public void EightBitsLoseAlmostNothingWithAllBatchNormsFolded()
    {
        using var network = ResNet20.Open(SharedData.Require("resnet20-cifar10/resnet20-12fca82f.safetensors"));
        var training = new CifarImages(SharedData.Require("resnet20-cifar10/cifar10-jpeg-train-8000.bin"));
        var (images, labels) = training.Batch(0, 64);
        using (labels)
        {
            QuantizedModelFile.Save(ModuleQuantizer.Run(network, ResNetRuns.Recipe("w8a8", new QatSettings()), [images], seed: 1), folder.File("w8a8"));
        }

        var read = QuantizedModelFile.Load(folder.File("w8a8"));
        using var deployed = new ResNet20();
        QuantizationAware.Load(deployed, read);
        Assert.InRange(Lossless().Accuracy(deployed), 0.92, 0.96);
        Assert.Equal(20, read.Layers.Count);
        Assert.DoesNotContain(read.FloatTensors, tensor => tensor.Name.Contains("bn", StringComparison.Ordinal));
    }

    private static CifarImages Lossless() => new(SharedData.Require("resnet20-cifar10/cifar10-test-first100.bin"));
}
