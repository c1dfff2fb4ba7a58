// Quantizes the matrices of a GGUF file to a type or mixture of llama.cpp, with the managed library alone:
//     GgufQuantizer FILE TYPE OUTPUT
// TYPE is one that nibble quantize --type takes, such as q4_k_m. README.md says how to publish it as a native program.
using Nibble;
using Nibble.Formats.Gguf;

const int Done = 0, Usage = 2, BadInput = 3, Cancelled = 130;
var types = string.Join(", ", GgufMixture.All.Select(mixture => mixture.Name));
if (args is not [var file, var type, var output])
{
    Console.Error.WriteLine($"Usage: GgufQuantizer FILE TYPE OUTPUT\nTYPE is one of {types}.");
    return Usage;
}

if (GgufMixture.Find(type) is not { } mixture)
{
    Console.Error.WriteLine($"TYPE is '{type}', expected one of {types}.");
    return Usage;
}

using var cancellation = new CancellationTokenSource();
Console.CancelKeyPress += (_, signal) =>
{
    signal.Cancel = true;
    cancellation.Cancel();
};
try
{
    var result = GgufQuantizer.Run(file, output, mixture, pure: false, Environment.ProcessorCount, cancellation: cancellation.Token);
    var counts = string.Join(", ", result.Types.Select(entry => $"{entry.Tensors} {entry.Type}"));
    Console.WriteLine($"{output}: {result.Bytes} bytes, {result.SourceBytes} before; tensors: {counts}");
    return Done;
}
catch (OperationCanceledException)
{
    Console.Error.WriteLine("Cancelled; nothing was written.");
    return Cancelled;
}
catch (Exception exception) when (exception is NibbleException or IOException or UnauthorizedAccessException)
{
    Console.Error.WriteLine(exception.Message);
    return BadInput;
}
