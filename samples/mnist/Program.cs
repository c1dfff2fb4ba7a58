// Trains a small network on MNIST in float, then through its own quantization at 8, 4 and 2 bits, with a loop of its own:
//     dotnet run -c Release --project samples/mnist -- FOLDER OUTPUT [IMAGES]
// FOLDER holds the four gzipped IDX files; the quantized models become folders in OUTPUT; IMAGES are trained on (60000).
using System.Globalization;
using System.IO.Compression;
using Nibble.Formats.CompressedTensors;
using Nibble.Recipes;
using Nibble.Torch.Native;
using Nibble.Torch.Qat;
using TorchSharp.Modules;
using static TorchSharp.torch;
TorchRuntime.EnsureLoaded();
manual_seed(1);
var steps = (args.Length > 2 ? int.Parse(args[2], CultureInfo.InvariantCulture) : 60000) / 100;
var (images, labels) = (Read("train-images-idx3", 16, -1, 1, 28, 28), Read("train-labels-idx1", 8, -1).to(int64));
var (testImages, testLabels) = (Read("t10k-images-idx3", 16, -1, 1, 28, 28), Read("t10k-labels-idx1", 8, -1));
using var network = Create();
Train(network, network.parameters(), rate: 2e-3);
Console.WriteLine($"float  {Accuracy(network):P2}  {network.parameters().Sum(parameter => parameter.numel()) * 4} bytes of weights");
foreach (var (name, preset) in new[] { ("INT8", "w8a8-static"), ("INT4", "w4a8-static"), ("INT2", "w2a8-static-stretched") })
{
    using var trained = Create();
    trained.load_state_dict(network.state_dict());
    var prepared = QuantizationAware.Prepare(trained, RecipePresets.Parse(preset));
    Train(trained, prepared.Parameters, rate: 1e-3, prepared.BeginStep);
    var model = prepared.Convert(seed: 1);
    QuantizedModelFile.Save(model, Path.Combine(args[1], name));
    using var deployed = Create();
    QuantizationAware.Load(deployed, QuantizedModelFile.Load(Path.Combine(args[1], name)));
    Console.WriteLine($"{name}   {Accuracy(deployed):P2}  {model.Layers.Sum(layer => layer.Weight.StoredBytes)} bytes of weights");
}

Sequential Create() => nn.Sequential(nn.Conv2d(1, 8, 3, bias: false), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(8, 16, 3, bias: false), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 10));
void Train(Sequential module, IEnumerable<Parameter> parameters, double rate, Action<int, int>? begin = null)
{
    using var optimizer = optim.Adam(parameters, rate);
    module.train();
    for (var step = 1; step <= steps; step++)
    {
        using IDisposable pause = CollectorPause.Begin(), scope = NewDisposeScope();
        begin?.Invoke(step, steps);
        var batch = randint(steps * 100, 100);
        optimizer.zero_grad();
        nn.functional.cross_entropy(module.forward(images.index_select(0, batch) / 255f), labels.index_select(0, batch)).backward();
        optimizer.step();
    }
}
double Accuracy(Sequential module)
{
    using var scope = NewDisposeScope();
    module.eval();
    return module.forward(testImages / 255f).argmax(1).eq(testLabels).to(float64).mean().item<double>();
}
Tensor Read(string name, int header, params long[] shape)
{
    using var file = new GZipStream(File.OpenRead(Path.Combine(args[0], $"{name}-ubyte.gz")), CompressionMode.Decompress);
    return tensor(new BinaryReader(file).ReadBytes(1 << 26)[header..]).view(shape);
}
