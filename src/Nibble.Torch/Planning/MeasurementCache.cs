using System.Security.Cryptography;
using System.Text.Json;
using Nibble.Formats;

namespace Nibble.Torch.Planning;

/// <summary>Measurements in files that are named by the hash of all that they depend on, so that nothing is measured twice.</summary>
/// <param name="folder">Where the files are; made when the first is written.</param>
internal sealed class MeasurementCache(string folder)
{
    /// <summary>Measurements that were made and not found.</summary>
    public int Made { get; private set; }

    /// <summary>The name of a measurement.</summary>
    /// <param name="identity">All that it depends on, by name.</param>
    public static string Key(IReadOnlyDictionary<string, string> identity) =>
        Convert.ToHexStringLower(SHA256.HashData(JsonSerializer.SerializeToUtf8Bytes(new SortedDictionary<string, string>(identity.ToDictionary(), StringComparer.Ordinal))));

    /// <summary>Reads a measurement; null where it is still to be made.</summary>
    /// <exception cref="NibbleException">The file is not one that <see cref="Add"/> wrote.</exception>
    public T? Find<T>(string key)
        where T : class
    {
        var path = PathOf(key);
        try
        {
            return File.Exists(path) ? JsonSerializer.Deserialize<T>(File.ReadAllBytes(path)) : null;
        }
        catch (JsonException exception)
        {
            throw new NibbleException($"{path} is not a measurement: {exception.Message}; delete the file, and it is measured again", exception);
        }
    }

    /// <summary>Writes a measurement, which survives whatever happens next.</summary>
    public void Add<T>(string key, T measurement)
    {
        Directory.CreateDirectory(folder);
        AtomicFile.Write(PathOf(key), stream => JsonSerializer.Serialize(stream, measurement));
        Made++;
    }

    private string PathOf(string key) => Path.Combine(folder, key + ".json");
}
