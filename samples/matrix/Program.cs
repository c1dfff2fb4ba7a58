using System.Globalization;
using System.Numerics.Tensors;
using Nibble;
using Nibble.Numerics;
using Nibble.Recipes;

// Quantizes a matrix of weights by two algorithms, and prints what each does to the products with inputs that it has not seen.
const int Rows = 256, Columns = 512, Tokens = 1024;
var random = new Random(1);
var weights = Numbers(Rows * Columns);

// Neighbouring inputs are alike, as in a network. That is what GPTQ makes use of.
var inputs = Numbers(2 * Tokens * Columns);
for (var i = 1; i < inputs.Length; i++)
{
    inputs[i] = (0.9f * inputs[i - 1]) + (0.4f * inputs[i]);
}

var (calibration, others) = (inputs[..(Tokens * Columns)], inputs[(Tokens * Columns)..]);
foreach (var bits in (ReadOnlySpan<int>)[8, 4, 3, 2])
{
    var scheme = new QuantizationScheme(bits, symmetric: false, Granularity.Group(32));
    foreach (var algorithm in (ReadOnlySpan<WeightRounding>)[WeightRounding.RoundToNearest, WeightRounding.Gptq])
    {
        var quantized = Quantize.Matrix(weights, Rows, Columns, scheme, new MatrixOptions { Algorithm = algorithm, Inputs = calibration });
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"{bits} bits, {algorithm,-14}  error of the products {OutputError(quantized.Dequantize()):P2}"));
    }
}

float[] Numbers(int count) => [.. Enumerable.Range(0, count).Select(_ => (float)(random.NextDouble() + random.NextDouble() - 1))];

double OutputError(float[] restored)
{
    var (error, all) = (0d, 0d);
    for (var token = 0; token < Tokens; token += 16)
    {
        var input = others.AsSpan(token * Columns, Columns);
        for (var row = 0; row < Rows; row++)
        {
            var expected = TensorPrimitives.Dot<float>(input, weights.AsSpan(row * Columns, Columns));
            var found = TensorPrimitives.Dot<float>(input, restored.AsSpan(row * Columns, Columns));
            (error, all) = (error + ((expected - found) * (expected - found)), all + (expected * expected));
        }
    }

    return Math.Sqrt(error / all);
}
