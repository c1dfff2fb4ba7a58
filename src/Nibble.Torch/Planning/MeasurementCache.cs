using Nibble.Files;
using System.Security.Cryptography;
using System.Text.Json;

namespace Nibble.Torch.Planning;

/// <summary>Stores measurements in files named by a hash of everything they depend on, so that nothing is measured twice.</summary>
/// <param name="folder">The folder of the files. It is created when the first file is written.</param>
internal sealed class MeasurementCache(string folder)
{
    private const string FormatName = "nibble.measurement/2";
    private const string Remedy = "delete the file to measure it again";

    /// <summary>The number of new measurements.</summary>
    public int Made { get; private set; }

    /// <summary>The name of a measurement.</summary>
    /// <param name="identity">Everything it depends on, by name.</param>
    public static string Key(IReadOnlyDictionary<string, string> identity) =>
        Hash(new SortedDictionary<string, string>(identity.ToDictionary(), StringComparer.Ordinal) { ["format"] = FormatName });

    /// <summary>Reads a measurement. Returns null if there is none yet.</summary>
    /// <exception cref="DamagedFileException">The file is damaged.</exception>
    public T? Find<T>(string key)
        where T : class
    {
        var path = PathOf(key);
        if (!File.Exists(path))
        {
            return null;
        }

        try
        {
            var stored = JsonSerializer.Deserialize<Stored<T>>(File.ReadAllBytes(path));
            return stored is { Measurement: { } measurement } && stored.Checksum == Hash(measurement)
                ? measurement
                : throw new DamagedFileException(path, "its checksum does not match its contents", Remedy);
        }
        catch (JsonException exception)
        {
            throw new DamagedFileException(path, exception.Message, Remedy);
        }
    }

    /// <summary>Writes a measurement. Once written, it survives a crash.</summary>
    public void Add<T>(string key, T measurement)
        where T : class
    {
        Directory.CreateDirectory(folder);
        AtomicFile.Write(PathOf(key), stream => JsonSerializer.Serialize(stream, new Stored<T>(Hash(measurement), measurement)));
        Made++;
    }

    private static string Hash<T>(T value) => Convert.ToHexStringLower(SHA256.HashData(JsonSerializer.SerializeToUtf8Bytes(value)));

    private string PathOf(string key) => Path.Combine(folder, key + ".json");

    private sealed record Stored<T>(string? Checksum, T? Measurement);
}
