using Nibble.Formats.Safetensors;
using Nibble.Torch.Native;
using TorchSharp;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace Nibble.Torch.Benchmarks;

/// <summary>ResNet-20 for CIFAR-10 (He et al. 2016, section 4.2) with shortcuts that stride and pad with zeros (option A); parameters are named as in
/// akamaster's checkpoint.</summary>
internal sealed class ResNet20 : nn.Module<Tensor, Tensor>
{
    private readonly nn.Module<Tensor, Tensor> conv1 = nn.Conv2d(3, 16, 3, padding: 1, bias: false);
    private readonly nn.Module<Tensor, Tensor> bn1 = nn.BatchNorm2d(16);
    private readonly nn.Module<Tensor, Tensor> layer1 = Stage(16, 16);
    private readonly nn.Module<Tensor, Tensor> layer2 = Stage(16, 32);
    private readonly nn.Module<Tensor, Tensor> layer3 = Stage(32, 64);
    private readonly nn.Module<Tensor, Tensor> linear = nn.Linear(64, 10);

    public ResNet20()
        : base(nameof(ResNet20)) => RegisterComponents();

    /// <summary>The network with the weights of a safetensors file.</summary>
    public static ResNet20 Open(string path)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        using var file = SafetensorsFile.Open(path);
        var network = new ResNet20();
        foreach (var (name, value) in network.state_dict().Where(item => file.Contains(item.Key)))
        {
            value.copy_(tensor(file.ReadFloats(name)).view(value.shape));
        }

        network.eval();
        return network;
    }

    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var x = F.relu(bn1.forward(conv1.forward(input)));
        x = layer3.forward(layer2.forward(layer1.forward(x)));
        return linear.forward(x.mean([2L, 3L])).MoveToOuterDisposeScope();
    }

    private static TorchSharp.Modules.Sequential Stage(int input, int output) =>
        nn.Sequential(new Block(input, output), new Block(output, output), new Block(output, output));

    private sealed class Block : nn.Module<Tensor, Tensor>
    {
        private readonly nn.Module<Tensor, Tensor> conv1;
        private readonly nn.Module<Tensor, Tensor> bn1;
        private readonly nn.Module<Tensor, Tensor> conv2;
        private readonly nn.Module<Tensor, Tensor> bn2;
        private readonly int added;

        public Block(int input, int output)
            : base(nameof(Block))
        {
            added = output - input;
            conv1 = nn.Conv2d(input, output, 3, stride: added > 0 ? 2 : 1, padding: 1, bias: false);
            bn1 = nn.BatchNorm2d(output);
            conv2 = nn.Conv2d(output, output, 3, padding: 1, bias: false);
            bn2 = nn.BatchNorm2d(output);
            RegisterComponents();
        }

        public override Tensor forward(Tensor input)
        {
            using var scope = NewDisposeScope();
            var y = bn2.forward(conv2.forward(F.relu(bn1.forward(conv1.forward(input)))));
            var shortcut = added == 0 ? input
                : F.pad(input[TensorIndex.Ellipsis, TensorIndex.Slice(step: 2), TensorIndex.Slice(step: 2)], [0, 0, 0, 0, added / 2, added / 2],
                PaddingModes.Constant, 0);
            return F.relu(y + shortcut).MoveToOuterDisposeScope();
        }
    }
}

/// <summary>Records of CIFAR-10's binary version: a label, then 3 x 32 x 32 bytes.</summary>
internal sealed class CifarImages
{
    private const int Side = 32;
    private const int Plane = Side * Side;
    private const int Record = 1 + (3 * Plane);
    private const int Margin = 4;

    // Of ImageNet, with which the network was trained.
    private static readonly float[] Mean = [0.485f, 0.456f, 0.406f];
    private static readonly float[] Deviation = [0.229f, 0.224f, 0.225f];

    private readonly byte[] records;

    public CifarImages(string path, int most = int.MaxValue)
    {
        records = File.ReadAllBytes(path);
        Count = Math.Min(records.Length / Record, most);
    }

    public int Count { get; }

    /// <summary>Images as they are, normalized: [images, 3, 32, 32], and their labels.</summary>
    public (Tensor Images, Tensor Labels) Batch(int start, int count) => Batch(Enumerable.Range(start, count).ToArray(), null);

    /// <summary>Images, flipped by chance and shifted by up to 4 pixels where <paramref name="random"/> is given.</summary>
    public (Tensor Images, Tensor Labels) Batch(int[] indices, Random? random)
    {
        var values = new float[indices.Length * 3 * Plane];
        for (var i = 0; i < indices.Length; i++)
        {
            var (flip, down, right) = random is null ? (false, 0, 0)
                : (random.Next(2) == 1, random.Next(-Margin, Margin + 1), random.Next(-Margin, Margin + 1));
            var image = records.AsSpan((indices[i] * Record) + 1, 3 * Plane);
            for (var at = 0; at < 3 * Plane; at++)
            {
                var (channel, row, column) = (at / Plane, (at % Plane / Side) + down, at % Side);
                column = (flip ? Side - 1 - column : column) + right;
                var inside = row is >= 0 and < Side && column is >= 0 and < Side;
                var value = inside ? image[(channel * Plane) + (row * Side) + column] / 255f : 0;
                values[(i * 3 * Plane) + at] = (value - Mean[channel]) / Deviation[channel];
            }
        }

        return (tensor(values).view(-1, 3, Side, Side), tensor(Array.ConvertAll(indices, index => (long)records[index * Record])));
    }

    /// <summary>Share of the images whose most likely class is their own.</summary>
    public double Accuracy(nn.Module<Tensor, Tensor> network)
    {
        const int Size = 100;
        using var guard = no_grad();
        network.eval();
        var right = 0L;
        for (var start = 0; start < Count; start += Size)
        {
            using var pause = CollectorPause.Begin();
            using var scope = NewDisposeScope();
            var (images, labels) = Batch(start, Math.Min(Size, Count - start));
            right += network.forward(images).argmax(1).eq(labels).sum().item<long>();
        }

        return (double)right / Count;
    }
}
