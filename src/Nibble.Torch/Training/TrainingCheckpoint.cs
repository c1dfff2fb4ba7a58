using Nibble.Files;
using System.Runtime.InteropServices;
using Nibble.Formats.Safetensors;
using Nibble.Torch.Models;
using static TorchSharp.torch;

namespace Nibble.Torch.Training;

/// <summary>The state of a training run between two steps, as a safetensors file with named tensors and arrays.</summary>
internal sealed class TrainingCheckpoint
{
    private const string FormatKey = "format";
    private const string FormatName = "nibble.training/2";

    private readonly List<SafetensorsTensor> tensors = [];

    public void Add(string name, Tensor values) =>
        tensors.Add(new SafetensorsTensor(name, ElementType.F32, values.shape, stream => ElementType.F32.Write(Conversion.ValuesOf(values), stream)));

    public void Add(string name, float[] values) => tensors.Add(SafetensorsTensor.FromFloats(name, ElementType.F32, [values.Length], values));

    /// <summary>Adds double-precision values, bit for bit.</summary>
    public void Add(string name, double[] values) =>
        tensors.Add(SafetensorsTensor.FromBytes(name, ElementType.I64, [values.Length], MemoryMarshal.AsBytes(values.AsSpan()).ToArray()));

    public void Write(string path) => SafetensorsWriter.WriteChecksummed(path, tensors, new Dictionary<string, string> { [FormatKey] = FormatName });

    /// <summary>Reads a checkpoint. Everything in it is checked against the state in memory before use.</summary>
    internal sealed class Reader : IDisposable
    {
        private readonly SafetensorsFile file;

        /// <summary>Opens a file.</summary>
        /// <exception cref="NibbleException">The file is not a training checkpoint.</exception>
        /// <exception cref="DamagedFileException">The file is damaged.</exception>
        public Reader(string path)
        {
            ChecksummedFile.Require(path, OutputJob.Remedy);
            file = SafetensorsFile.Open(path);
            if (file.Metadata.GetValueOrDefault(FormatKey) != FormatName)
            {
                file.Dispose();
                throw new NibbleException(
                    $"{path}: found the format '{file.Metadata.GetValueOrDefault(FormatKey)}', expected a {FormatName} checkpoint; {OutputJob.StartOver}");
            }
        }

        public bool Contains(string name) => file.Contains(name);

        /// <summary>Overwrites a tensor.</summary>
        public void CopyTo(string name, Tensor target)
        {
            var entry = Entry(name);
            if (entry.ElementType != ElementType.F32 || !entry.Shape.SequenceEqual(target.shape))
            {
                throw Fault($"tensor {name} is {entry.ElementType} [{string.Join(", ", entry.Shape)}], expected F32 [{string.Join(", ", target.shape)}]");
            }

            Conversion.CopyInto(target, file.ReadFloats(name));
        }

        public float[] Floats(string name)
        {
            var entry = Entry(name);
            return entry.ElementType == ElementType.F32 ? file.ReadFloats(name) : throw Fault($"tensor {name} is {entry.ElementType}, expected F32");
        }

        public double[] Doubles(string name, int? count = null)
        {
            var entry = Entry(name);
            return entry.ElementType == ElementType.I64 && (count is null || entry.Count == count)
                ? MemoryMarshal.Cast<byte, double>(file.ReadBytes(name)).ToArray()
                : throw Fault($"tensor {name} is {entry.ElementType} of {entry.Count}, expected I64{(count is null ? string.Empty : $" of {count}")}");
        }

        public NibbleException Fault(string message) => new($"{file.Path}: {message}; the checkpoint is from another run: {OutputJob.StartOver}");

        public void Dispose() => file.Dispose();

        private SafetensorsEntry Entry(string name) => file.Contains(name) ? file.Entry(name) : throw Fault($"tensor {name} is missing");
    }
}
