using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;

namespace Nibble.Onnx.Data;

/// <summary>Samples in the user's files.</summary>
internal sealed class SampleSource : ISampleSource
{
    private const string Known = "a folder of images or of .npy and .npz files, an image (.png, .jpg, .jpeg, .bmp, .webp, .gif), .npy, .npz, .jsonl, .wav, "
        + ".txt, .tsv, CIFAR-10's .bin or an IDX file of images (idx3-ubyte, also .gz)";

    private readonly List<IFileSamples> files;
    private readonly IReadOnlyList<GraphInput> inputs;
    private readonly IReadOnlyList<NamedOnnxValue> constants;

    private SampleSource(List<IFileSamples> files, IReadOnlyList<GraphInput> inputs, IReadOnlyList<NamedOnnxValue> constants) =>
        (this.files, this.inputs, this.constants) = (files, inputs, constants);

    /// <inheritdoc/>
    public long? Count => files.Aggregate((long?)0, (count, file) => count + file.Count);

    /// <inheritdoc/>
    public string Description => string.Join("; ", files.Select(file => file.Description));

    /// <summary>Opens files and folders, by what they are.</summary>
    /// <param name="paths">The files and folders, in the order of their samples.</param>
    /// <param name="inputs">The inputs of the model, with what is fixed of their shapes.</param>
    /// <param name="options">How files become samples.</param>
    /// <exception cref="NibbleException">
    /// A path is missing, of an unknown kind, empty or broken, or does not fit the inputs. Samples themselves are checked when they are read.
    /// </exception>
    public static ISampleSource Open(IReadOnlyList<string> paths, IReadOnlyList<GraphInput> inputs, SampleOptions options)
    {
        ArgumentNullException.ThrowIfNull(paths);
        ArgumentNullException.ThrowIfNull(options);
        if (paths.Count == 0)
        {
            throw new NibbleException($"No data is given, expected {Known}");
        }

        foreach (var (input, output) in options.States)
        {
            GraphInputs.Find(inputs, input, $"State '{input}={output}'");
        }

        var sampled = inputs.Where(input => !options.States.Any(state => state.Input == input.Name)).ToList();
        foreach (var constant in options.Constants)
        {
            GraphInputs.Find(sampled, constant.Name, "Constants");
        }

        var wanted = sampled.Where(input => !options.Constants.Any(constant => constant.Name == input.Name)).ToList();
        var files = paths.Select(path => OpenPath(path, wanted, options)).ToList();
        RequireOneRate(files.OfType<WavSamples>());
        return new SampleSource(files, sampled, options.Constants);
    }

    /// <inheritdoc/>
    public IEnumerable<IReadOnlyList<NamedOnnxValue>> Samples()
    {
        foreach (var file in files)
        {
            var isEmpty = true;
            foreach (var (values, place) in file.Read())
            {
                isEmpty = false;
                IReadOnlyList<NamedOnnxValue> sample = [.. values, .. constants];
                SampleCheck.Require(sample, inputs, place);
                yield return sample;
            }

            if (isEmpty)
            {
                throw new NibbleException($"There are no samples in {file.Description}");
            }
        }
    }

    private static IFileSamples OpenPath(string path, IReadOnlyList<GraphInput> wanted, SampleOptions options) =>
        Directory.Exists(path) ? OpenFolder(path, wanted, options)
        : File.Exists(path) ? OpenFile(path, wanted, options)
        : throw new NibbleException($"There is no file or folder {path}, expected {Known}");

    private static IFileSamples OpenFile(string path, IReadOnlyList<GraphInput> wanted, SampleOptions options)
    {
        if (ImageFile.IsImage(path))
        {
            return new ImageSamples(path, [path], 0, Images());
        }

        return RecordSamples.IsIdx(path) ? RecordSamples.Open(path, Images()) : Path.GetExtension(path).ToUpperInvariant() switch
        {
            ".NPY" or ".NPZ" => ArraySamples.Open(path, wanted),
            ".JSONL" => JsonLineSamples.Open(path, wanted),
            ".WAV" => WavSamples.Open(path, wanted, Rate(options)),
            ".TXT" or ".TSV" => TextSamples.Open(path, wanted, options),
            ".BIN" => RecordSamples.Open(path, Images()),
            _ => throw new NibbleException($"{path} is of an unknown kind, expected {Known}"),
        };

        ImageInput Images() => new(GraphInputs.Only(wanted, path), options.Images, path);
    }

    private static IFileSamples OpenFolder(string folder, IReadOnlyList<GraphInput> wanted, SampleOptions options)
    {
        var all = new EnumerationOptions { RecurseSubdirectories = true, IgnoreInaccessible = false, AttributesToSkip = FileAttributes.None };
        var files = Directory.EnumerateFiles(folder, "*", all).OrderBy(path => path.Replace('\\', '/'), StringComparer.Ordinal).ToList();
        var (images, arrays) = (files.FindAll(ImageFile.IsImage), files.FindAll(IsArray));
        if (images.Count > 0 && arrays.Count > 0)
        {
            throw new NibbleException($"The folder {folder} has {images.Count} images and {arrays.Count} .npy or .npz files, expected one of both kinds");
        }

        return images.Count > 0
            ? new ImageSamples(folder, images, files.Count - images.Count, new ImageInput(GraphInputs.Only(wanted, folder), options.Images, folder))
            : arrays.Count > 0 ? new FolderSamples(folder, arrays.ConvertAll(path => ArraySamples.Open(path, wanted)), files.Count - arrays.Count)
            : throw new NibbleException($"The folder {folder} has no images ({string.Join(", ", ImageFile.Extensions)}) and no .npy or .npz files, and "
                + $"{files.Count} other {(files.Count == 1 ? "file" : "files")}");
    }

    private static bool IsArray(string path) => Path.GetExtension(path).ToUpperInvariant() is ".NPY" or ".NPZ";

    /// <summary>The rate of recordings: the one that is said, or the one that the model gets as an input.</summary>
    private static int? Rate(SampleOptions options) => options.SampleRate
        ?? (options.Constants.FirstOrDefault(constant => constant.Name is "sr" or "sample_rate" or "sampling_rate")?.Value switch
        {
            Tensor<long> { Length: 1 } rate => (int)Math.Min(rate.GetValue(0), int.MaxValue),
            Tensor<int> { Length: 1 } rate => rate.GetValue(0),
            _ => null,
        });

    private static void RequireOneRate(IEnumerable<WavSamples> recordings)
    {
        var rates = recordings.GroupBy(file => file.Format.Rate).ToList();
        if (rates.Count > 1)
        {
            throw new NibbleException($"Recordings with different numbers of values per second: {string.Join(", ", rates.Select(group =>
                $"{group.Key} ({group.First().Description})"))}. Convert them to one");
        }
    }
}
