namespace Nibble.Samples.Storyteller;

/// <summary>Writes a file whole or not at all.</summary>
internal static class TextFile
{
    public static void Write(string path, string text)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        var temporary = path + ".tmp";
        File.WriteAllText(temporary, text);
        File.Move(temporary, path, overwrite: true);
    }
}
